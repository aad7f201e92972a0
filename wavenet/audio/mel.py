"""Log-mel spectrogram, used throughout the package."""

import functools
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import torchaudio
from torch import Tensor

from wavenet.audio.features import Features
from wavenet.bounds import MAX_TOTALS, RATES, HopLength, SampleRate, checked
from wavenet.types import Integer, OneOf, Real

PADDINGS = ("silence", "reflect")

WindowLength = Annotated[int, Integer(2, 2**14, step=2)]  # samples
NumMels = Annotated[int, Integer(1, MAX_TOTALS["n_mels"])]
LowestBand = Annotated[float, Real(0, RATES.high / 2)]  # Hz
HighestBand = Annotated[float, Real(0, RATES.high / 2, exclusive_low=True)]  # Hz
Floor = Annotated[float, Real(0, 1, exclusive_low=True, example=1e-5)]
Padding = Annotated[str, OneOf(PADDINGS)]


@checked
@dataclass(frozen=True)
class LogMel(Features):
    """Natural logarithm of a mel magnitude spectrogram, with the mel scale and the norm of Slaney's toolbox.

    Frame f describes the samples [f * hop_length, (f + 1) * hop_length): its Hann window is centred at their
    middle, the sample f * hop_length + hop_length / 2. HiFi-GAN (Kong et al., 2020; github.com/jik876/hifi-gan,
    meldataset.py) has its frames at the same positions; with padding "reflect" they are equal, except that HiFi-GAN
    leaves out a frame that reaches beyond the recording and adds 1e-9 to the squared magnitudes. Tacotron 2
    (github.com/NVIDIA/tacotron2) centres frame f on the sample f * hop_length, half a frame earlier: audio made from
    its frames is the same and begins hop_length / 2 samples later.

    Attributes:
        sample_rate: Hz.
        n_fft: Window and transform length, samples.
        hop_length: Samples per frame.
        n_mels: Number of mel bands.
        fmin: Lower edge of the lowest band, Hz.
        fmax: Upper edge of the highest band, Hz; None is sample_rate / 2.
        floor: Magnitudes below this are raised to it before the logarithm.
        name: Name of the condition.
        padding: What the windows read beyond the recording's ends: "silence", or "reflect" for the recording itself,
            backwards, as in HiFi-GAN.
        num_channels: Equal to n_mels.

    Raises:
        ValueError: If a number is out of its range, or a band is so narrow that it contains no frequency of the
            transform.

    >>> LogMel(8000).extract(torch.zeros(1000)).shape
    torch.Size([80, 4])
    """

    sample_rate: SampleRate
    n_fft: WindowLength = 1024
    hop_length: HopLength = 256
    n_mels: NumMels = 80
    fmin: LowestBand = 0.0
    fmax: HighestBand | None = None
    floor: Floor = 1e-5
    name: str = "mel"
    padding: Padding = "silence"
    num_channels: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.hop_length > self.n_fft:
            raise ValueError(
                f"LogMel: hop_length is {self.hop_length}; it must be at most n_fft ({self.n_fft}), "
                f"or samples between the windows are lost"
            )
        if self.hop_length % 2:
            raise ValueError(
                f"LogMel: hop_length is {self.hop_length}; it must be even as n_fft is, "
                f"so that a window is centred on its frame"
            )
        if not 0 <= self.fmin < self._top <= self.sample_rate / 2:
            raise ValueError(
                f"LogMel: fmin is {self.fmin!r} and fmax is {self.fmax!r}; "
                f"they must be 0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz, half the sample_rate"
            )
        object.__setattr__(self, "num_channels", self.n_mels)
        filters = _transform(self).mel_scale.fb
        assert isinstance(filters, Tensor)
        empty = int((filters.amax(dim=0) == 0).sum())
        if empty:
            raise ValueError(
                f"LogMel: n_mels is {self.n_mels}: {empty} of the bands are narrower than the frequency resolution, "
                f"{self.sample_rate / self.n_fft:.3g} Hz; use fewer bands, or a longer n_fft than {self.n_fft}"
            )

    @property
    def _top(self) -> float:
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    def extract(self, waveform: Tensor, recording: Path | None = None) -> Tensor:
        """Return the log-mel spectrogram of a waveform.

        Args:
            waveform: (..., T) samples at sample_rate, on the CPU.
            recording: Not used.

        Returns:
            (..., n_mels, ceil(T / hop_length)), float32.
        """
        num_frames = self.num_frames(waveform.shape[-1])
        if num_frames == 0:
            return torch.zeros(*waveform.shape[:-1], self.n_mels, 0)
        before = (self.n_fft - self.hop_length) // 2
        after = before + num_frames * self.hop_length - waveform.shape[-1]
        padded = waveform.float()
        if self.padding == "reflect":
            padded = padded[..., _reflected(waveform.shape[-1], before, after)]
        else:
            padded = torch.nn.functional.pad(padded, (before, after))
        return _transform(self)(padded).clamp(min=self.floor).log()


def _reflected(length: int, before: int, after: int) -> Tensor:
    """Return the indices (before + length + after,) of samples of a recording of any length, reflected at its ends."""
    period = max(1, 2 * (length - 1))
    indices = torch.arange(-before, length + after) % period
    return torch.minimum(indices, period - indices) if length > 1 else torch.zeros_like(indices)


@functools.lru_cache(maxsize=16)
def _transform(mel: LogMel) -> torchaudio.transforms.MelSpectrogram:
    # on the CPU and outside of inference mode, wherever a model is built
    with warnings.catch_warnings(), torch.device("cpu"), torch.inference_mode(False):
        warnings.filterwarnings("ignore", message="At least one mel filterbank")  # LogMel raises an error instead
        return torchaudio.transforms.MelSpectrogram(
            mel.sample_rate,
            n_fft=mel.n_fft,
            hop_length=mel.hop_length,
            f_min=mel.fmin,
            f_max=mel._top,
            n_mels=mel.n_mels,
            power=1.0,
            center=False,
            norm="slaney",
            mel_scale="slaney",
        )


def log_mel_spectrogram(
    waveform: Tensor,
    sample_rate: int,
    n_fft: int | None = None,
    hop_length: int = 256,
    n_mels: int = 80,
    floor: float = 1e-5,
) -> Tensor:
    """Return the `LogMel` of a waveform, from 0 Hz to sample_rate / 2.

    Args:
        waveform: (..., T) samples in [-1, 1], on the CPU.
        sample_rate: Hz.
        n_fft: Window and transform length, samples; None is 1024, and above 102.4 kHz the power of two
            that lasts at least 10 ms: a shorter one leaves bands empty.
        hop_length: Samples per frame.
        n_mels: Number of mel bands.
        floor: Magnitudes below this are raised to it before the logarithm.

    Returns:
        (..., n_mels, ceil(T / hop_length)).

    Raises:
        ValueError: As in `LogMel`.
    """
    if n_fft is None:
        n_fft = max(1024, 2 ** math.ceil(math.log2(sample_rate / 100)))
    return LogMel(sample_rate, n_fft, hop_length, n_mels, floor=floor).extract(waveform)
