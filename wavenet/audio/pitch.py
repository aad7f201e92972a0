"""Fundamental frequency of a voice."""

import importlib.util
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from wavenet.audio.features import Features
from wavenet.bounds import RATES, HopLength, SampleRate, checked
from wavenet.extras import install_command
from wavenet.types import Real

_PERIODS = 4  # of fmin in a window: longer windows blur a moving pitch, shorter ones miss low voices
_SEMITONES = 0.2  # between two candidates: 0.1 takes 3.5 times as long and gains little, as the pitch moves anyway
_OCTAVES_PER_SECOND = 35.92  # how fast the pitch may move: librosa's default


LowestPitch = Annotated[float, Real(0, RATES.high / 8, exclusive_low=True, example=60)]  # Hz
HighestPitch = Annotated[float, Real(0, RATES.high / 4, exclusive_low=True, example=500)]  # Hz


@checked
@dataclass(frozen=True)
class Pitch(Features):
    """Fundamental frequency (F0) in Hz, 0 in unvoiced frames.

    It is estimated by librosa's pYIN (Mauch and Dixon 2014), in steps of a fifth of a semitone. Frame f
    describes the samples [f * hop_length, (f + 1) * hop_length): its window, four periods of fmin, is centred
    at their middle, the sample f * hop_length + hop_length / 2, with silence beyond the recording's ends.

    Attributes:
        sample_rate: Hz.
        hop_length: Samples per frame.
        fmin: Lowest F0 of the search, Hz.
        fmax: Highest F0 of the search, Hz.
        name: Name of the condition.
        num_channels: Always 1.

    Raises:
        ValueError: If a number is out of its range.
    """

    sample_rate: SampleRate
    hop_length: HopLength = 64
    fmin: LowestPitch = 60.0
    fmax: HighestPitch = 500.0
    name: str = "f0"
    num_channels: int = field(init=False, repr=False, default=1)

    def __post_init__(self) -> None:
        if not 0 < 2 * self.fmin <= self.fmax <= self.sample_rate / 4:
            raise ValueError(
                f"Pitch: fmin is {self.fmin!r} and fmax is {self.fmax!r}; fmin must be above 0 and fmax between "
                f"2 * fmin and {self.sample_rate / 4:g} Hz, a quarter of the sample_rate"
            )

    @staticmethod
    def is_available() -> bool:
        """Return whether librosa, an optional dependency, is installed."""
        return importlib.util.find_spec("librosa") is not None

    def extract(self, waveform: Tensor, recording: Path | None = None) -> Tensor:
        """Return the F0 of a waveform.

        Args:
            waveform: (T,) samples at sample_rate, on the CPU.
            recording: Not used.

        Returns:
            (1, ceil(T / hop_length)) in Hz, float32; 0 where the frame is not voiced, and everywhere in a
            recording shorter than two periods of fmin.

        Raises:
            ModuleNotFoundError: If librosa is not installed.
        """
        try:
            import librosa  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"Pitch needs librosa: {install_command('pitch')}") from error

        num_frames = self.num_frames(waveform.shape[0])
        if waveform.shape[0] < 2 * self.sample_rate / self.fmin:
            return torch.zeros(1, num_frames)
        length = max(math.ceil(_PERIODS * self.sample_rate / self.fmin), self.hop_length)
        length += (length - self.hop_length) % 2  # so that the window is centred on its frame
        before = (length - self.hop_length) // 2
        after = before + num_frames * self.hop_length - waveform.shape[0]
        # librosa takes whole semitones per frame; with 0 the pitch could never move, and too many are refused
        semitones = round(_OCTAVES_PER_SECOND * 12 * self.hop_length / self.sample_rate)
        semitones = min(max(semitones, 1), math.floor(12 * math.log2(self.fmax / self.fmin)))
        f0, _, _ = librosa.pyin(
            np.pad(waveform.numpy().astype(np.float64), (before, after)),
            fmin=self.fmin,
            fmax=self.fmax,
            sr=self.sample_rate,
            frame_length=length,
            hop_length=self.hop_length,
            resolution=_SEMITONES,
            max_transition_rate=semitones / 12 * self.sample_rate / self.hop_length,
            fill_na=0.0,
            center=False,
        )
        return torch.from_numpy(f0.astype(np.float32)).unsqueeze(0)
