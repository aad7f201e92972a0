"""Conditioning on precomputed features, in files beside the audio."""

from torch import Tensor

from wavenet.audio import FileFeatures
from wavenet.bounds import Channels, Dropout, HopLength, checked
from wavenet.conditioning.frames import ContextFrames, Edges, FrameConditioner
from wavenet.nn import Upsampling


class FileConditioner(FrameConditioner):
    """Conditioning on any features at a frame rate, read from `.npy` files: see `wavenet.audio.FileFeatures`.

    Args:
        name: Name of the condition and in the files' names: `x.NAME.npy` or `x.npy` beside `x.wav`.
        num_channels: Features per frame; they should have about unit variance.
        hop_length: Samples per frame, at the model's rate.
        condition_channels: This and the following: see `FrameConditioner`.
        upsampling: From frames to samples; None is two stages of 4 and a hold of 4.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the network that reads them.
        dropout: See `Conditioner`.
        edges: "replicate" or "zeros".

    Raises:
        ValueError: If a number is out of range, or the upsampling has another hop_length.
    """

    @checked
    def __init__(
        self,
        name: str,
        num_channels: Channels,
        condition_channels: Channels,
        hop_length: HopLength = 64,
        upsampling: Upsampling | None = None,
        context_frames: ContextFrames = 2,
        hidden_channels: Channels = 64,
        dropout: Dropout = 0.0,
        edges: Edges = "replicate",
    ) -> None:
        features = FileFeatures(name, num_channels, hop_length)
        upsampling = upsampling or Upsampling()
        super().__init__(
            features, num_channels, condition_channels, upsampling, context_frames, hidden_channels, dropout, edges
        )
        self.num_channels, self.hop_length = num_channels, hop_length

    def normalise(self, frames: Tensor) -> Tensor:
        """Return the frames unchanged."""
        return frames
