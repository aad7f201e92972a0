"""The contract of conditioners."""

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
    """What the network is told besides the samples so far.

    The model adds up what its conditioners return, so its layers know one condition only.

    With dropout, training leaves the condition out of a share of the segments and puts a learned
    vector in its place. Such a model can be asked without the condition as well, which is what
    classifier-free guidance needs (Ho and Salimans, 2022).

    Args:
        name: Which of a batch's named conditions it reads.
        condition_channels: Channels of what it returns.
        dropout: Share of the training segments that go without the condition.

    Attributes:
        features: What a recording has to tell it in frames; None if it asks for a name.
        margin: Samples to either side of a sample whose features have a say in its condition.

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
        """Pick its own from a batch's named conditions.

        Args:
            conditions: All of the batch's conditions by name.
            batch_size: B.
            dropout_uniform: In training, a random number in [0, 1) for each utterance, (B,): below `dropout`
                the condition is left out.

        Returns:
            Values (B, condition_channels, 1) that hold for the whole utterance, or (B,
            condition_channels, L) that hold for some samples each.

        Raises:
            ValueError: If its condition is unknown, or missing without dropout.
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
        """What `forward` returns where nothing is left out; all that a new conditioner has to implement.

        Args:
            conditions: All of the batch's conditions by name; its own is under `name`.
            batch_size: B.

        Raises:
            ValueError: If its condition is missing, unknown or of another shape.
        """
