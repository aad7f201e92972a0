"""The one mel spectrogram of this package."""

import functools

import torchaudio
from torch import Tensor


@functools.lru_cache(maxsize=8)
def _mel(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        sample_rate,
        n_fft=n_fft,
        hop_length=hop_length,
        n_mels=n_mels,
        power=1.0,
        pad_mode="constant",  # unlike "reflect" it serves waveforms shorter than a window
        norm="slaney",
        mel_scale="slaney",
    )


def log_mel_spectrogram(
    waveform: Tensor,
    sample_rate: int,
    n_fft: int = 1024,
    hop_length: int = 256,
    n_mels: int = 80,
    floor: float = 1e-5,
) -> Tensor:
    """Natural logarithm of the mel magnitude spectrogram, 0 Hz to sample_rate / 2.

    Args:
        waveform: (..., T) samples in [-1, 1], on the CPU.
        sample_rate: Hz.
        n_fft: Window and transform length, samples.
        hop_length: Distance between frames, samples.
        n_mels: Number of mel bands.
        floor: Magnitudes below this are raised to it before the logarithm.

    Returns:
        (..., n_mels, T // hop_length + 1).
    """
    return _mel(sample_rate, n_fft, hop_length, n_mels)(waveform).clamp(min=floor).log()
