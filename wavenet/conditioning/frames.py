"""Local conditioning: frames of features, brought to the rate of the samples."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.audio import Features
from wavenet.bounds import Channels, Dropout, Flag, HopLength, checked
from wavenet.conditioning.base import Conditioner
from wavenet.nn import Condition, PointwiseConv1d, Upsampling
from wavenet.nn.upsampling import Activation, Bands, Scales, StageKind
from wavenet.types import Integer, OneOf

EDGES = ("replicate", "zeros")

ContextFrames = Annotated[int, Integer(0, 1000)]
Edges = Annotated[str, OneOf(EDGES)]


class FrameConditioner(Conditioner):
    """Local conditioning (van den Oord et al., 2016, section 2.5) on features in frames.

    Features are normalised, a small network reads each frame with its neighbours, and learned
    upsampling brings the result to the samples. Filters that treat every channel alike give the same
    before and after a change of channels, so the network stands before the upsampling, where there
    are hop_length times fewer steps; only filters that reach over neighbouring bands need the bands
    themselves, and then the last change of channels comes after them. The last `hold` samples share a
    value, which the layers project once (see `wavenet.nn.Condition`).

    The beginning and the end of a recording count as if their frame went on; with edges "zeros", only for
    the neighbours that are read, and the upsampling hears zeros beyond.

    Args:
        features: What is asked of a recording.
        input_channels: Channels of what `normalise` returns.
        condition_channels: Channels of what it returns.
        scales: Factors of the learned upsampling.
        hold: Samples that share a value; scales x hold is the features' hop_length.
        upsampling: "nearest" or "transposed", see `wavenet.nn.Upsampling`.
        freq_kernel_size: Bands that the upsampling filters reach over; 1 for each by itself.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the small network.
        dropout: See `Conditioner`.
        edges: "replicate" or "zeros".
        activation: Of the upsampling, see `Upsampling`.
        upsampling_bias: Whether the upsampling has biases.

    Raises:
        ValueError: If a number is out of range, or scales x hold is not hop_length.
    """

    @checked
    def __init__(
        self,
        features: Features,
        input_channels: Channels,
        condition_channels: Channels,
        scales: Scales,
        hold: HopLength,
        upsampling: StageKind,
        freq_kernel_size: Bands,
        context_frames: ContextFrames,
        hidden_channels: Channels,
        dropout: Dropout,
        edges: Edges = "replicate",
        activation: Activation = "none",
        upsampling_bias: Flag = False,
    ) -> None:
        super().__init__(features.name, condition_channels, dropout)
        self.features = features
        self.scales = list(scales)
        self.hold = hold
        self.upsampling = upsampling
        self.freq_kernel_size = freq_kernel_size
        self.context_frames = context_frames
        self.hidden_channels = hidden_channels
        self.edges = edges
        self.activation = activation
        self.upsampling_bias = upsampling_bias
        window = 2 * context_frames + 1
        if freq_kernel_size == 1:
            self.before = nn.Sequential(
                nn.Conv1d(input_channels, hidden_channels, window),
                nn.ReLU(),
                PointwiseConv1d(hidden_channels, condition_channels),
            )
            self.after = nn.Identity()
        else:
            self.before = nn.Conv1d(input_channels, input_channels, window)
            self.after = nn.Sequential(
                PointwiseConv1d(input_channels, hidden_channels),
                nn.ReLU(),
                PointwiseConv1d(hidden_channels, condition_channels),
            )
        self.upsample = Upsampling(
            features.hop_length, scales, hold, upsampling, freq_kernel_size, activation, upsampling_bias
        )
        self.hop, self.num_features = features.hop_length, features.num_channels
        self.margin = (context_frames + self.upsample.margin) * features.hop_length

    def read(self, conditions: Mapping[str, Any], batch_size: int) -> Condition:
        """Bring features to samples.

        Args:
            conditions: Under this conditioner's name the features, (num_channels, F) for the whole
                batch or (B, num_channels, F).
            batch_size: B.

        Returns:
            (B, condition_channels, F * hop_length / hold), each value for `hold` samples.

        Raises:
            ValueError: If they are missing, of another shape, or not finite.
        """
        frames = self.normalise(self._checked(conditions.get(self.name), batch_size))
        # Without gradients one by one: side by side, a batch's products may round otherwise, and generated audio
        # would depend on the batch.
        parts = [frames] if torch.is_grad_enabled() else frames.split(1)
        x = torch.cat([self._run(part) for part in parts])
        return Condition(x.expand(batch_size, -1, -1), self.hold)

    def _run(self, frames: Tensor) -> Tensor:
        """(B, input_channels, F) -> (B, condition_channels, F * hop_length / hold)."""
        further = self.upsample.margin if self.edges == "replicate" else 0
        beyond = self.context_frames + further
        x = F.pad(frames, (beyond, beyond), mode="replicate") if beyond else frames
        x = self.upsample(self.before(x))
        cut = further * self.hop // self.hold
        return self.after(x[..., cut : x.shape[-1] - cut])

    @abstractmethod
    def normalise(self, frames: Tensor) -> Tensor:
        """Features (B, num_channels, F) as numbers of about unit variance, (B, input_channels, F)."""

    def _checked(self, frames: Any, batch_size: int) -> Tensor:
        weight = next(self.before.parameters())
        channels = self.num_features
        if frames is None:
            raise ValueError(
                f"the model needs {self.name}: give mel_from=RECORDING to take it from a recording, or "
                f"{self.name}=FILE.npy, an array ({channels}, frames) of a frame for every "
                f"{self.hop} samples"
            )
        frames = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
        frames = frames[None] if frames.dim() == 2 else frames
        if frames.dim() != 3 or frames.shape[0] not in (1, batch_size) or frames.shape[1] != channels:
            raise ValueError(
                f"{self.name} is {tuple(frames.shape)}; it must be ({channels}, frames) or "
                f"({batch_size}, {channels}, frames)"
            )
        if frames.shape[2] == 0 or not (torch.compiler.is_compiling() or bool(frames.isfinite().all())):
            raise ValueError(f"{self.name} has no frames, or holds NaN or infinite numbers")
        return frames.to(weight)
