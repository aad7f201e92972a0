"""Conditioning on fundamental frequency and voicing."""

import math
from typing import Annotated

import torch
from torch import Tensor

from wavenet.audio import Pitch
from wavenet.audio.pitch import HighestPitch, LowestPitch
from wavenet.bounds import RATES, Channels, Dropout, HopLength, SampleRate, checked
from wavenet.conditioning.frames import ContextFrames, FrameConditioner
from wavenet.nn import Upsampling
from wavenet.types import Real


class F0Conditioner(FrameConditioner):
    """Conditioning on the fundamental frequency (van den Oord et al., 2016, section 3.2, had log F0 beside text).

    The feature is F0 in Hz, and 0 in unvoiced frames. The network reads two channels: voicing, 0 or 1, and in
    voiced frames (ln F0 - ln centre) / spread.

    Args:
        sample_rate: The model's, Hz.
        hop_length: Samples per frame.
        fmin: Lowest F0 to detect, Hz.
        fmax: Highest F0 to detect, Hz.
        centre: F0 that counts as 0, Hz.
        spread: Natural logarithm of the ratio that counts as 1.
        condition_channels: This and the following: see `FrameConditioner`.
        upsampling: From frames to samples, each channel by itself; None is two stages of 4 and a hold of 4.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the network that reads them.
        dropout: See `Conditioner`.

    Raises:
        ValueError: If a number is out of range, or the upsampling has another hop_length.
    """

    @checked
    def __init__(
        self,
        sample_rate: SampleRate,
        condition_channels: Channels,
        hop_length: HopLength = 64,
        fmin: LowestPitch = 60.0,
        fmax: HighestPitch = 500.0,
        centre: Annotated[float, Real(0, RATES.high, exclusive_low=True, example=150)] = 150.0,
        spread: Annotated[float, Real(0, 1000, exclusive_low=True, example=0.4)] = 0.4,
        upsampling: Upsampling | None = None,
        context_frames: ContextFrames = 2,
        hidden_channels: Channels = 32,
        dropout: Dropout = 0.0,
    ) -> None:
        pitch = Pitch(sample_rate, hop_length, fmin, fmax)
        upsampling = upsampling or Upsampling()
        if upsampling.freq_kernel_size != 1:
            raise ValueError(
                f"F0Conditioner: upsampling.freq_kernel_size is {upsampling.freq_kernel_size}; it must be 1: voicing "
                "and F0 are not neighbouring bands"
            )
        super().__init__(pitch, 2, condition_channels, upsampling, context_frames, hidden_channels, dropout)
        self.sample_rate, self.hop_length, self.fmin, self.fmax = sample_rate, hop_length, fmin, fmax
        self.centre, self.spread = centre, spread

    def normalise(self, frames: Tensor) -> Tensor:
        """See `FrameConditioner.normalise`.

        Raises:
            ValueError: If a frequency is negative.
        """
        if not torch.compiler.is_compiling() and bool((frames < 0).any()):
            raise ValueError(f"{self.name} holds {frames.min().item():g} Hz; F0 is above 0, and 0 in unvoiced frames")
        voiced = (frames > 0).to(frames)
        height = (frames.clamp(min=1e-3).log() - math.log(self.centre)) / self.spread
        return torch.cat([voiced, voiced * height], dim=1)
