"""Classifier-free guidance: the model is run with and without its conditions."""

import torch
from torch import Tensor, nn

from wavenet.checks import is_number
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet
from wavenet.nn import Condition


class GuidedWaveNet(nn.Module):
    """A model with logits u + guidance (c - u): c with the condition, u without (Ho and Salimans, 2022, section 3.2).

    It runs each utterance twice, so it costs twice as much. Its interface is the model's: the two
    halves of a state or a condition are concatenated in the channels.

    Args:
        model: A model that was trained with dropout of its conditions.
        guidance: 1 is the model itself, above 1 follows the condition more than the training data did, 0 ignores it.

    Raises:
        ValueError: If guidance is not a number, or the model's output is not a categorical, whose logits can
            be mixed, or it has a context stack, or a condition that cannot be left out.
    """

    log_prob = WaveNet.log_prob

    def __init__(self, model: WaveNet, guidance: float) -> None:
        super().__init__()
        if not is_number(guidance):
            raise ValueError(f"guidance is {guidance!r}; it must be a number, 1 is the model itself")
        if not isinstance(model.distribution, MuLawCategorical):
            raise ValueError(
                f"guidance is {guidance}, but it mixes logits, and the output distribution, "
                f"{model.distribution.label}, has none; use guidance=1"
            )
        if model.context is not None:
            raise ValueError(f"guidance is {guidance}, but the model has a context stack; use guidance=1")
        needed = [name for name, conditioner in model.conditioners.items() if conditioner.absent is None]
        if needed or not model.conditioners:
            reason = f"always needs {', '.join(needed)}" if needed else "has no conditions"
            raise ValueError(
                f"guidance is {guidance}, but the model {reason}; train with dropout, such as "
                f"model.conditioners.{needed[0] if needed else 'speaker'}.dropout=0.1"
            )
        self.model, self.guidance = model, guidance
        self.distribution, self.conditioners, self.context = model.distribution, model.conditioners, None

    def condition(self, condition: Condition, batch_size: int) -> Condition:
        """Return a condition and that of no conditions, concatenated: (B, 2 condition_channels, L)."""
        unconditional = self.model.condition({}, batch_size)
        assert unconditional is not None
        values = torch.cat([condition.values, unconditional.values.expand_as(condition.values)], dim=1)
        return Condition(values, condition.hop_length, condition.offset)

    def forward(
        self, waveform: Tensor, condition: Condition | None = None, state: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """See `WaveNet.forward`."""
        assert condition is not None
        both = Condition(_to_batch(condition.values), condition.hop_length, condition.offset)
        states = None if state is None else [_to_batch(part) for part in state]
        parameters, new_state = self.model(torch.cat([waveform, waveform]), both, states)
        conditional, unconditional = parameters.chunk(2)
        logits = unconditional + self.guidance * (conditional - unconditional)
        return logits, [torch.cat(part.chunk(2), dim=1) for part in new_state]


def _to_batch(x: Tensor) -> Tensor:
    """Move the two halves of the channels to the batch: (B, 2 C, L) -> (2 B, C, L)."""
    return torch.cat(x.chunk(2, dim=1))
