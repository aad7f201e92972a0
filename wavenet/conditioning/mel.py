"""A mel spectrogram: what makes the model a vocoder."""

from collections.abc import Sequence

from torch import Tensor

from wavenet.audio import LogMel
from wavenet.checks import is_number
from wavenet.conditioning.frames import FrameConditioner


class MelConditioner(FrameConditioner):
    """Conditioning on a log-mel spectrogram (Shen et al., 2018, section 3.3, for a WaveNet vocoder).

    The numbers here are the one definition of the spectrogram, for training, generation and
    evaluation alike; see `wavenet.audio.LogMel`. The network reads (log_mel - mean) / std.

    Args:
        sample_rate: The model's, Hz.
        n_fft: Window and transform length, samples.
        hop_length: Samples of a frame.
        n_mels: Bands.
        fmin: Lower end of the lowest band, Hz.
        fmax: Upper end of the highest band, Hz; None for sample_rate / 2.
        floor: Magnitudes below this are raised to it before the natural logarithm.
        mean: About the mean of log_mel over speech.
        std: About its standard deviation.
        condition_channels: See `FrameConditioner`, like all that follow.
        scales: Factors of the learned upsampling.
        hold: Samples that share a value; scales x hold is hop_length.
        upsampling: "nearest" or "transposed".
        freq_kernel_size: Bands that the upsampling filters reach over.
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
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float | None = None,
        floor: float = 1e-5,
        mean: float = -5.0,
        std: float = 2.2,
        scales: Sequence[int] = (4, 4, 4),
        hold: int = 4,
        upsampling: str = "nearest",
        freq_kernel_size: int = 1,
        context_frames: int = 2,
        hidden_channels: int = 64,
        dropout: float = 0.0,
    ) -> None:
        mel = LogMel(sample_rate, n_fft, hop_length, n_mels, fmin, fmax, floor)
        super().__init__(
            mel, n_mels, condition_channels, scales, hold, upsampling, freq_kernel_size, context_frames,
            hidden_channels, dropout,
        )  # fmt: skip
        if not is_number(mean) or not is_number(std) or std <= 0:
            raise ValueError(f"MelConditioner: mean is {mean!r} and std is {std!r}; both are numbers, std above 0")
        self.sample_rate, self.n_fft, self.hop_length, self.n_mels = sample_rate, n_fft, hop_length, n_mels
        self.fmin, self.fmax, self.floor, self.mean, self.std = fmin, fmax, floor, mean, std

    def normalise(self, frames: Tensor) -> Tensor:
        """See `FrameConditioner.normalise`."""
        return (frames - self.mean) / self.std
