"""The contract of conditioners."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Conditioner(nn.Module, ABC):
    """What the network is told besides the samples so far.

    The model adds up what its conditioners return, so its layers know one condition only.

    Attributes:
        condition_channels: Channels of what it returns.
    """

    condition_channels: int

    @abstractmethod
    def forward(self, conditions: Mapping[str, Any], batch_size: int) -> Tensor:
        """Pick its own from a batch's named conditions.

        Args:
            conditions: All of the batch's conditions by name.
            batch_size: B.

        Returns:
            (B, condition_channels, 1) for something that holds for the whole utterance, or
            (B, condition_channels, T) for something that changes with time.

        Raises:
            ValueError: If its condition is missing or unknown.
        """
