"""From frames to samples: learned upsampling in stages."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.bounds import Flag, HopLength, checked
from wavenet.types import Integer, ListOf, OneOf

KINDS = ("nearest", "transposed")
ACTIVATIONS = ("none", "relu")

Scales = Annotated[Sequence[int], ListOf(Integer(1, 1024), 0, 16, "[4,4]")]
StageKind = Annotated[str, OneOf(KINDS)]
Bands = Annotated[int, Integer(1, 63, step=2)]
Activation = Annotated[str, OneOf(ACTIVATIONS)]


class Upsampling(nn.Module):
    """Learned interpolation between frames, one stage for each scale, the same for every band.

    A stage "nearest" repeats each value and smooths the steps with a convolution; a stage
    "transposed" is a transposed convolution (van den Oord et al., 2016, section 2.5). Both begin as
    plain interpolation and keep the mean. With freq_kernel_size > 1 the filters also reach over
    neighbouring bands. A stage's output is as centred as its input: frame f, which describes the
    samples [f * hop, (f + 1) * hop), ends up around the middle of these.

    Args:
        scales: Factors of the stages, in order.
        hold: Remaining factor: that many samples share each output, which costs nothing (see `Condition`).
        kind: "nearest" or "transposed".
        freq_kernel_size: Bands that a filter reaches over, odd; 1 takes each band by itself.
        activation: What follows each stage, "none" or "relu".
        bias: Whether each stage adds a learned constant.

    Attributes:
        hop_length: Samples per frame, the product of the scales and of hold.
        margin: Frames to either side that a frame's outputs depend on.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(
        self,
        scales: Scales = (4, 4),
        hold: HopLength = 4,
        kind: StageKind = "nearest",
        freq_kernel_size: Bands = 1,
        activation: Activation = "none",
        bias: Flag = False,
    ) -> None:
        super().__init__()
        self.scales, self.hold, self.kind = list(scales), hold, kind
        self.freq_kernel_size, self.activation, self.bias = freq_kernel_size, activation, bias
        self.hop_length = math.prod(scales) * hold
        self.filters = nn.ParameterList(
            _interpolation(scale, freq_kernel_size, transposed=kind == "transposed") for scale in scales
        )
        self.biases = nn.ParameterList(torch.zeros(1) for _ in scales) if bias else None
        rate, reach = 1, 0.0
        for scale, taps in zip(scales, self.filters, strict=True):
            reach += _reach(scale, taps.shape[-1], kind) / rate
            rate *= scale
        self.margin = math.ceil(reach)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, bands, F) -> (B, bands, F * hop_length / hold); frames beyond the ends count as zeros."""
        x = frames.unsqueeze(1)
        for scale, taps, bias in zip(self.scales, self.filters, self.biases or [None] * len(self.scales), strict=True):
            bands, size = taps.shape[2] // 2, taps.shape[3]
            if self.kind == "transposed":
                x = F.conv_transpose2d(x, taps, bias, stride=(1, scale), padding=(bands, (size - scale) // 2))
            else:
                x = F.conv2d(x.repeat_interleave(scale, dim=-1), taps, bias, padding=(bands, size // 2))
            x = x.relu() if self.activation == "relu" else x
        return x.squeeze(1)


def _interpolation(scale: int, bands: int, transposed: bool) -> nn.Parameter:
    """Filters (1, 1, bands, taps) that interpolate between frames; only the middle band counts."""
    if transposed:  # a triangle as wide as two frames; sums over each phase are 1
        taps = 2 * scale + scale % 2
        line = (taps / 2 - (torch.arange(taps) - (taps - 1) / 2).abs()).clamp(max=scale)
        phases = F.pad(line, (0, -taps % scale)).view(-1, scale).sum(dim=0)
        line = line / phases[torch.arange(taps) % scale]
    else:
        line = torch.full((2 * scale + 1,), 1 / (2 * scale + 1))
    weight = torch.zeros(1, 1, bands, len(line))
    weight[:, :, bands // 2] = line
    return nn.Parameter(weight)


def _reach(scale: int, taps: int, kind: str) -> float:
    """How far a stage's filter reaches into neighbouring inputs, in inputs."""
    return (taps - scale) / 2 / scale if kind == "transposed" else (taps // 2) / scale
