"""Conditioning on a mel spectrogram, for a vocoder."""

from typing import Annotated

from torch import Tensor

from wavenet.audio import LogMel
from wavenet.audio.mel import Floor, HighestBand, LowestBand, NumMels, Padding, WindowLength
from wavenet.bounds import Channels, Dropout, HopLength, SampleRate, checked
from wavenet.conditioning.frames import ContextFrames, FrameConditioner
from wavenet.nn import Upsampling
from wavenet.types import Real


class MelConditioner(FrameConditioner):
    """Conditioning on a log-mel spectrogram (Shen et al., 2018, section 3.3, for a WaveNet vocoder).

    The numbers here are the one definition of the spectrogram, for training, generation and
    evaluation alike; see `wavenet.audio.LogMel`. The network reads (log_mel - mean) / std.

    Args:
        sample_rate: The model's, Hz.
        n_fft: Window and transform length, samples.
        hop_length: Samples per frame.
        n_mels: Bands.
        fmin: Lower end of the lowest band, Hz.
        fmax: Upper end of the highest band, Hz; None for sample_rate / 2.
        floor: Minimum magnitude before the natural logarithm.
        mean: Approximate mean of log_mel over speech.
        std: Approximate standard deviation of log_mel over speech.
        condition_channels: This and the following: see `FrameConditioner`.
        upsampling: From frames to samples; None is three stages of 4 and a hold of 4.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the network that reads them.
        dropout: See `Conditioner`.
        padding: Beyond the ends of a recording, "silence" or "reflect"; see `wavenet.audio.LogMel`.

    Raises:
        ValueError: If a number is out of range, or the upsampling has another hop_length.
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
        upsampling: Upsampling | None = None,
        context_frames: ContextFrames = 2,
        hidden_channels: Channels = 64,
        dropout: Dropout = 0.0,
        padding: Padding = "silence",
    ) -> None:
        mel = LogMel(sample_rate, n_fft, hop_length, n_mels, fmin, fmax, floor, padding=padding)
        upsampling = upsampling or Upsampling((4, 4, 4), hold=4)
        super().__init__(mel, n_mels, condition_channels, upsampling, context_frames, hidden_channels, dropout)
        self.sample_rate, self.n_fft, self.hop_length, self.n_mels = sample_rate, n_fft, hop_length, n_mels
        self.fmin, self.fmax, self.floor, self.mean, self.std, self.padding = fmin, fmax, floor, mean, std, padding

    def normalise(self, frames: Tensor) -> Tensor:
        """See `FrameConditioner.normalise`."""
        return (frames - self.mean) / self.std
