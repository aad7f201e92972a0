"""The interface of conditioners."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wavenet.audio import Features
from wavenet.bounds import Channels, Dropout, checked
from wavenet.nn import Condition


class Conditioner(nn.Module, ABC):
    """A module that turns a named condition of a batch into the network's condition.

    The model sums the outputs of its conditioners, so its layers have a single condition.

    With dropout, training replaces the condition of a fraction of the segments with a learned vector. Such a model can
    also be used without the condition, as classifier-free guidance requires (Ho and Salimans, 2022).

    Args:
        name: Name of the condition in the batch.
        condition_channels: Channels of the output.
        dropout: Fraction of the training segments without the condition.

    Attributes:
        features: How the features are extracted from a recording; None for a condition that is a name.
        margin: Samples on either side of a sample whose features affect its condition.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(self, name: str, condition_channels: Channels, dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.name = name
        self.condition_channels = condition_channels
        self.dropout = dropout
        self.features: Features | None = None
        self.margin = 0
        self.absent = nn.Parameter(torch.zeros(1, condition_channels, 1)) if dropout else None

    def forward(
        self, conditions: Mapping[str, Any], batch_size: int, dropout_uniform: Tensor | None = None
    ) -> Condition:
        """Compute the condition of a batch.

        Args:
            conditions: All of the batch's conditions, by name.
            batch_size: B.
            dropout_uniform: In training, a random number in [0, 1) for each utterance, (B,): below `dropout`
                the condition is left out.

        Returns:
            Values (B, condition_channels, 1) for the whole utterance, or (B, condition_channels, L) for some samples
            each.

        Raises:
            ValueError: If its condition has an unknown value, or is missing and there is no dropout.
        """
        if self.absent is not None and conditions.get(self.name) is None:
            return Condition(self.absent.expand(batch_size, -1, -1))
        condition = self.read(conditions, batch_size)
        if self.absent is None or dropout_uniform is None:
            return condition
        dropped = (dropout_uniform < self.dropout)[:, None, None].to(self.absent.device)
        return replace(condition, values=torch.where(dropped, self.absent, condition.values))

    @abstractmethod
    def read(self, conditions: Mapping[str, Any], batch_size: int) -> Condition:
        """Compute the condition where none is dropped: the one method that a new conditioner implements.

        Args:
            conditions: All of the batch's conditions; its own is under `name`.
            batch_size: B.

        Raises:
            ValueError: If its condition is missing, unknown or of the wrong shape.
        """
