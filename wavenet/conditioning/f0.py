"""Fundamental frequency and voicing."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavenet.audio import Pitch
from wavenet.checks import is_number
from wavenet.conditioning.frames import FrameConditioner


class F0Conditioner(FrameConditioner):
    """Conditioning on the fundamental frequency (van den Oord et al., 2016, section 3.2, had log F0 beside text).

    The feature is F0 in Hz, and 0 where there is no voice. The network reads two channels: whether
    there is voice, and there (ln F0 - ln centre) / spread.

    Args:
        sample_rate: The model's, Hz.
        hop_length: Samples of a frame.
        fmin: Lowest F0 that is looked for, Hz.
        fmax: Highest, Hz.
        centre: F0 that counts as 0, Hz.
        spread: Natural logarithm of the ratio that counts as 1.
        condition_channels: See `FrameConditioner`, like all that follow.
        scales: Factors of the learned upsampling.
        hold: Samples that share a value; scales x hold is hop_length.
        upsampling: "nearest" or "transposed".
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the network that reads them.
        dropout: See `Conditioner`.

    Raises:
        ValueError: If a number is out of range, or scales x hold is not hop_length.
    """

    def __init__(
        self,
        sample_rate: int,
        condition_channels: int,
        hop_length: int = 64,
        fmin: float = 60.0,
        fmax: float = 500.0,
        centre: float = 150.0,
        spread: float = 0.4,
        scales: Sequence[int] = (4, 4),
        hold: int = 4,
        upsampling: str = "nearest",
        context_frames: int = 2,
        hidden_channels: int = 32,
        dropout: float = 0.0,
    ) -> None:
        pitch = Pitch(sample_rate, hop_length, fmin, fmax)
        super().__init__(
            pitch, 2, condition_channels, scales, hold, upsampling, 1, context_frames, hidden_channels, dropout
        )
        if not is_number(centre) or not is_number(spread) or centre <= 0 or spread <= 0:
            raise ValueError(
                f"F0Conditioner: centre is {centre!r} and spread is {spread!r}; both must be numbers above 0"
            )
        self.sample_rate, self.hop_length, self.fmin, self.fmax = sample_rate, hop_length, fmin, fmax
        self.centre, self.spread = centre, spread

    def normalise(self, frames: Tensor) -> Tensor:
        """See `FrameConditioner.normalise`.

        Raises:
            ValueError: If a frequency is negative.
        """
        if not torch.compiler.is_compiling() and bool((frames < 0).any()):
            raise ValueError(
                f"{self.name} holds {frames.min().item():g} Hz; F0 is above 0, and 0 where there is no voice"
            )
        voiced = (frames > 0).to(frames)
        height = (frames.clamp(min=1e-3).log() - math.log(self.centre)) / self.spread
        return torch.cat([voiced, voiced * height], dim=1)
