"""Local conditioning: frames of features, brought to the rate of the samples."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.audio import Features
from wavenet.bounds import Channels, Dropout, checked
from wavenet.conditioning.base import Conditioner
from wavenet.nn import Condition, PointwiseConv1d, Upsampling
from wavenet.types import Integer, OneOf

EDGES = ("replicate", "zeros")

ContextFrames = Annotated[int, Integer(0, 1000)]
Edges = Annotated[str, OneOf(EDGES)]


class FrameConditioner(Conditioner):
    """Local conditioning (van den Oord et al., 2016, section 2.5) on features in frames.

    Features are normalised, a small network reads each frame with its neighbours, and learned upsampling brings the
    result to the sample rate. Filters that treat all channels alike commute with 1x1 convolutions, so the network comes
    before the upsampling, where there are hop_length times fewer steps. Only filters that reach over neighbouring bands
    need the bands themselves; then the 1x1 convolutions come after the upsampling. Each output is shared by `hold`
    samples, and the layers project it once (see `wavenet.nn.Condition`).

    Beyond both ends of a recording its first and last frame are repeated; with edges "zeros", only for the
    neighbours that are read, and the upsampling's input is zero there.

    Args:
        features: How the features are extracted from a recording.
        input_channels: Channels of what `normalise` returns.
        condition_channels: Channels of the condition.
        upsampling: From frames to samples; its hop_length is that of the features.
        context_frames: Frames to either side that are read with each frame.
        hidden_channels: Width of the small network.
        dropout: See `Conditioner`.
        edges: "replicate" or "zeros".

    Raises:
        ValueError: If a number is out of range, or the upsampling has another hop_length than the features.
    """

    @checked
    def __init__(
        self,
        features: Features,
        input_channels: Channels,
        condition_channels: Channels,
        upsampling: Upsampling,
        context_frames: ContextFrames,
        hidden_channels: Channels,
        dropout: Dropout,
        edges: Edges = "replicate",
    ) -> None:
        super().__init__(features.name, condition_channels, dropout)
        if upsampling.hop_length != features.hop_length:
            product = " x ".join(map(str, [*upsampling.scales, upsampling.hold]))
            raise ValueError(
                f"{type(self).__name__}: hop_length is {features.hop_length}; it must be upsampling.scales x "
                f"upsampling.hold = {product} = {upsampling.hop_length}"
            )
        self.features = features
        self.context_frames = context_frames
        self.hidden_channels = hidden_channels
        self.edges = edges
        window = 2 * context_frames + 1
        if upsampling.freq_kernel_size == 1:
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
        self.upsampling = upsampling
        self.num_features = features.num_channels
        self.margin = (context_frames + upsampling.margin) * features.hop_length

    def read(self, conditions: Mapping[str, Any], batch_size: int) -> Condition:
        """Bring features to the sample rate.

        Args:
            conditions: Under this conditioner's name, the features, (num_channels, F) for the whole
                batch or (B, num_channels, F).
            batch_size: B.

        Returns:
            (B, condition_channels, F * hop_length / hold), each value for `hold` samples.

        Raises:
            ValueError: If they are missing, of the wrong shape, or not finite.
        """
        frames = self.normalise(self._checked(conditions.get(self.name), batch_size))
        # Without gradients, one utterance at a time: products of a batch may round differently, and generated audio
        # would depend on the batch.
        parts = [frames] if torch.is_grad_enabled() else frames.split(1)
        x = torch.cat([self._run(part) for part in parts])
        return Condition(x.expand(batch_size, -1, -1), self.upsampling.hold)

    def _run(self, frames: Tensor) -> Tensor:
        """(B, input_channels, F) -> (B, condition_channels, F * hop_length / hold)."""
        up = self.upsampling
        further = up.margin if self.edges == "replicate" else 0
        beyond = self.context_frames + further
        x = F.pad(frames, (beyond, beyond), mode="replicate") if beyond else frames
        x = up(self.before(x))
        cut = further * up.hop_length // up.hold
        return self.after(x[..., cut : x.shape[-1] - cut])

    @abstractmethod
    def normalise(self, frames: Tensor) -> Tensor:
        """Scale features (B, num_channels, F) to about unit variance, (B, input_channels, F)."""

    def _checked(self, frames: Any, batch_size: int) -> Tensor:
        weight = next(self.before.parameters())
        channels = self.num_features
        if frames is None:
            raise ValueError(
                f"the model needs {self.name}: give mel_from=RECORDING to take it from a recording, or "
                f"{self.name}=FILE.npy, an array ({channels}, frames) of a frame for every "
                f"{self.upsampling.hop_length} samples"
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
