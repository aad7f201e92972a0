"""Classifier-free guidance: the model with and without its conditions, side by side."""

import torch
from torch import Tensor, nn

from wavenet.checks import is_number
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet
from wavenet.nn import Condition


class GuidedWaveNet(nn.Module):
    """A model with logits u + guidance (c - u): c with the condition, u without (Ho and Salimans, 2022, section 3.2).

    It hears each utterance twice, so it costs twice as much. From outside it looks like the model:
    both halves of a state or a condition lie one behind the other in the channels.

    Args:
        model: A model that was trained with dropout of its conditions.
        guidance: 1 is the model itself, more follows the condition more than the data did, 0 ignores it.

    Raises:
        ValueError: If guidance is not a number, or the model has another output than a categorical, whose
            logits can be mixed, a context stack, or a condition that it cannot go without.
    """

    log_prob = WaveNet.log_prob

    def __init__(self, model: WaveNet, guidance: float) -> None:
        super().__init__()
        if not is_number(guidance):
            raise ValueError(f"guidance is {guidance!r}; it must be a number, 1 is the model itself")
        if not isinstance(model.distribution, MuLawCategorical):
            name = type(model.distribution).__name__
            raise ValueError(f"guidance is {guidance}, but it mixes logits, and {name} has none; use guidance=1")
        if model.context is not None:
            raise ValueError(f"guidance is {guidance}, but the model has a context stack; use guidance=1")
        needed = [name for name, conditioner in model.conditioners.items() if conditioner.absent is None]
        if needed or not model.conditioners:
            what = f"cannot go without {', '.join(needed)}" if needed else "has no conditions"
            raise ValueError(
                f"guidance is {guidance}, but the model {what}; train with dropout, such as "
                f"model.conditioners.{needed[0] if needed else 'speaker'}.dropout=0.1"
            )
        self.model, self.guidance = model, guidance
        self.distribution, self.conditioners, self.context = model.distribution, model.conditioners, None

    def condition(self, told: Condition, batch_size: int) -> Condition:
        """A condition and its absence: (B, 2 condition_channels, L)."""
        nothing = self.model.condition({}, batch_size)
        assert nothing is not None
        values = torch.cat([told.values, nothing.values.expand_as(told.values)], dim=1)
        return Condition(values, told.hop_length, told.offset)

    def forward(
        self, waveform: Tensor, condition: Condition | None = None, state: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """See `WaveNet.forward`."""
        assert condition is not None
        twice = Condition(_apart(condition.values), condition.hop_length, condition.offset)
        halves = None if state is None else [_apart(part) for part in state]
        parameters, after = self.model(torch.cat([waveform, waveform]), twice, halves)
        told, untold = parameters.chunk(2)
        return untold + self.guidance * (told - untold), [torch.cat(part.chunk(2), dim=1) for part in after]


def _apart(x: Tensor) -> Tensor:
    """(B, 2 C, L) -> (2 B, C, L)."""
    return torch.cat(x.chunk(2, dim=1))
