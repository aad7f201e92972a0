"""Features that somebody else made, in files beside the audio."""

from torch import Tensor

from wavenet.audio import FileFeatures
from wavenet.bounds import Channels, Dropout, Flag, HopLength, checked
from wavenet.conditioning.frames import ContextFrames, Edges, FrameConditioner
from wavenet.nn.upsampling import Activation, Bands, Scales, StageKind


class FileConditioner(FrameConditioner):
    """Conditioning on any features at a frame rate, read from `.npy` files: see `wavenet.audio.FileFeatures`.

    Args:
        name: Of the condition, and of the files: `x.NAME.npy` or `x.npy` beside `x.wav`.
        num_channels: Numbers in a frame; they should be of about unit variance.
        hop_length: Samples of a frame, at the model's rate.
        condition_channels: See `FrameConditioner`, like all that follow.
        scales: Factors of the learned upsampling.
        hold: Samples that share a value; scales x hold is hop_length.
        upsampling: "nearest" or "transposed".
        freq_kernel_size: Channels that the upsampling filters reach over.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the network that reads them.
        dropout: See `Conditioner`.
        edges: "replicate" or "zeros".
        activation: "none" or "relu", after each stage of the upsampling.
        upsampling_bias: Whether these stages have biases.

    Raises:
        ValueError: If a number is out of range, or scales x hold is not hop_length.
    """

    @checked
    def __init__(
        self,
        name: str,
        num_channels: Channels,
        condition_channels: Channels,
        hop_length: HopLength = 64,
        scales: Scales = (4, 4),
        hold: HopLength = 4,
        upsampling: StageKind = "nearest",
        freq_kernel_size: Bands = 1,
        context_frames: ContextFrames = 2,
        hidden_channels: Channels = 64,
        dropout: Dropout = 0.0,
        edges: Edges = "replicate",
        activation: Activation = "none",
        upsampling_bias: Flag = False,
    ) -> None:
        features = FileFeatures(name, num_channels, hop_length)
        super().__init__(
            features, num_channels, condition_channels, scales, hold, upsampling, freq_kernel_size, context_frames,
            hidden_channels, dropout, edges, activation, upsampling_bias,
        )  # fmt: skip
        self.num_channels, self.hop_length = num_channels, hop_length

    def normalise(self, frames: Tensor) -> Tensor:
        """The frames as they are."""
        return frames
