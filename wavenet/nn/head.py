"""The head: the output layers, from the sum of the skips to the parameters of the next sample's distribution."""

import torch
from torch import Tensor, nn

from wavenet.nn.causal_conv import PointwiseConv1d

_TAIL = 3  # the modules from here on compute the parameters


class Head(nn.Sequential):
    """ReLU, a 1x1 convolution, ReLU, a 1x1 convolution (van den Oord et al., 2016, section 2.4 and figure 4).

    Args:
        skip_channels: Channels of the skips.
        head_channels: Channels of the hidden layer.
        parameter_channels: Channels of the output.
        output_projection: Whether one more 1x1 convolution follows, without an activation in between.
        float32_output: Whether the layers after the hidden layer are computed in the precision of their weights, also
            under autocast.
    """

    def __init__(
        self,
        skip_channels: int,
        head_channels: int,
        parameter_channels: int,
        output_projection: bool = False,
        float32_output: bool = False,
    ) -> None:
        convolutions = PointwiseConv1d(skip_channels, head_channels), PointwiseConv1d(head_channels, parameter_channels)
        projection = [PointwiseConv1d(parameter_channels, parameter_channels)] if output_projection else []
        super().__init__(nn.ReLU(), convolutions[0], nn.ReLU(), convolutions[1], *projection)
        self.float32_output = float32_output

    def forward(self, input: Tensor) -> Tensor:
        """Compute the parameters (B, parameter_channels, T) from the skips (B, skip_channels, T)."""
        modules = list(self)
        x = input
        for module in modules[:_TAIL]:
            x = module(x)
        if not self.float32_output:
            for module in modules[_TAIL:]:
                x = module(x)
            return x
        with torch.autocast(x.device.type, enabled=False):
            for module in modules[_TAIL:]:
                x = module(x.to(_dtype(module, x)))
        return x


def _dtype(module: nn.Module, x: Tensor) -> torch.dtype:
    """Return the dtype of a module's weights; without weights, that of its input."""
    return next((parameter.dtype for parameter in module.parameters()), x.dtype)
