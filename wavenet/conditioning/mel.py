"""A mel spectrogram: what makes the model a vocoder."""

from typing import Annotated

from torch import Tensor

from wavenet.audio import LogMel
from wavenet.audio.mel import Floor, HighestBand, LowestBand, NumMels, WindowLength
from wavenet.bounds import Channels, Dropout, HopLength, SampleRate, checked
from wavenet.conditioning.frames import ContextFrames, FrameConditioner
from wavenet.nn.upsampling import Bands, Scales, StageKind
from wavenet.types import Real


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

    @checked
    def __init__(
        self,
        sample_rate: SampleRate,
        condition_channels: Channels,
        n_fft: WindowLength = 1024,
        hop_length: HopLength = 256,
        n_mels: NumMels = 80,
        fmin: LowestBand = 0.0,
        fmax: HighestBand | None = None,
        floor: Floor = 1e-5,
        mean: Annotated[float, Real(-1000, 1000, example=-5)] = -5.0,
        std: Annotated[float, Real(0, 1000, exclusive_low=True, example=2.2)] = 2.2,
        scales: Scales = (4, 4, 4),
        hold: HopLength = 4,
        upsampling: StageKind = "nearest",
        freq_kernel_size: Bands = 1,
        context_frames: ContextFrames = 2,
        hidden_channels: Channels = 64,
        dropout: Dropout = 0.0,
    ) -> None:
        mel = LogMel(sample_rate, n_fft, hop_length, n_mels, fmin, fmax, floor)
        super().__init__(
            mel, n_mels, condition_channels, scales, hold, upsampling, freq_kernel_size, context_frames,
            hidden_channels, dropout,
        )  # fmt: skip
        self.sample_rate, self.n_fft, self.hop_length, self.n_mels = sample_rate, n_fft, hop_length, n_mels
        self.fmin, self.fmax, self.floor, self.mean, self.std = fmin, fmax, floor, mean, std

    def normalise(self, frames: Tensor) -> Tensor:
        """See `FrameConditioner.normalise`."""
        return (frames - self.mean) / self.std
