"""The condition of the layers: its values, and the number of samples that each value covers."""

import builtins
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """The condition of a segment of audio (van den Oord et al., 2016, section 2.5).

    Sample t of the segment is conditioned on values[..., (offset + t) // hop_length]. A projection of
    the channels gives the same result before and after values are repeated, so layers project the few
    values and repeat the result: hop_length times less work, identical to the bit.

    Attributes:
        values: (B, condition_channels, L).
        hop_length: Samples that each value covers; None if there is a single value (L = 1) for all
            samples, which is global conditioning.
        offset: Samples of the first value that lie before the segment, below hop_length.
    """

    values: Tensor
    hop_length: int | None = None
    offset: int = 0

    @property
    def num_samples(self) -> float:
        """Number of samples that are covered; infinity for a global condition."""
        return math.inf if self.hop_length is None else self.values.shape[-1] * self.hop_length - self.offset

    def slice(self, start: int, length: int) -> "Condition":
        """Return the condition of samples [start, start + length).

        Raises:
            ValueError: If it does not cover them.
        """
        if self.hop_length is None:
            return self
        if start + length > self.num_samples:
            raise ValueError(f"the conditions cover {self.num_samples} samples; {start + length} were requested")
        rest = self.from_sample(start)
        count = (rest.offset + length - 1) // self.hop_length + 1
        return replace(rest, values=rest.values[..., :count])

    def from_sample(self, start: int) -> "Condition":
        """Return the condition of the samples from `start` on.

        Raises:
            ValueError: If it does not cover them.
        """
        if self.hop_length is None:
            return self
        if start >= self.num_samples:
            raise ValueError(f"the conditions cover {self.num_samples} samples; more were requested")
        first, offset = divmod(self.offset + start, self.hop_length)
        return Condition(self.values[..., first:], self.hop_length, offset)

    def select(self, utterances: list[int] | builtins.slice) -> "Condition":
        """Return the condition of some utterances of the batch."""
        return replace(self, values=self.values[utterances])

    def upsampled(self, length: int) -> Tensor:
        """Return the values at the first `length` samples: (B, C, length), or (B, C, 1) if one value covers all."""
        return self.upsample(self.values, length)

    def upsample(self, projected: Tensor, length: int) -> Tensor:
        """Repeat something that was computed from each value over the samples of the value.

        Args:
            projected: (B, any channels, L).
            length: Samples.

        Returns:
            (B, any channels, length), or (B, any channels, 1) if one value covers all of them.

        Raises:
            ValueError: If the condition covers fewer samples.
        """
        if self.hop_length is None:
            return projected
        if length > self.num_samples:
            raise ValueError(f"the conditions cover {self.num_samples} samples; the audio has {length}")
        if self.offset + length <= self.hop_length:
            return projected[..., :1]
        if self.hop_length > 1:
            projected = projected.repeat_interleave(self.hop_length, dim=-1)
        return projected[..., self.offset : self.offset + length]

    def __add__(self, other: "Condition") -> "Condition":
        """Return the sum, sample by sample; it covers the samples that both cover."""
        if self.hop_length is None or other.hop_length is None:
            longer = other if self.hop_length is None else self
            return replace(longer, values=self.values + other.values)
        hop = math.gcd(self.hop_length, other.hop_length, self.offset - other.offset)
        a, b = self._finer(hop), other._finer(hop)
        length = min(a.values.shape[-1], b.values.shape[-1])
        return Condition(a.values[..., :length] + b.values[..., :length], hop, a.offset)

    def _finer(self, hop: int) -> "Condition":
        """Return the same condition with a shorter hop, a divisor of the present one."""
        assert self.hop_length is not None
        times = self.hop_length // hop
        values = self.values.repeat_interleave(times, dim=-1) if times > 1 else self.values
        return Condition(values[..., self.offset // hop :], hop, self.offset % hop)


def batch_conditions(conditions: list[Condition], length: int) -> Condition:
    """Combine the conditions of single utterances into that of a batch.

    Args:
        conditions: All global, or each from the present position of its utterance, for at least `length` samples.
        length: Samples.

    Returns:
        The condition of the next `length` samples of the batch.
    """
    first = conditions[0]
    if first.hop_length is None:
        return Condition(torch.cat([c.values for c in conditions]))
    pieces = [c.slice(0, length) for c in conditions]
    if all((c.hop_length, c.offset) == (first.hop_length, first.offset) for c in conditions):
        return replace(first, values=torch.cat([c.values for c in pieces]))
    upsampled = [c.upsampled(length).expand(-1, -1, length) for c in pieces]
    return Condition(torch.cat(upsampled), hop_length=1)
