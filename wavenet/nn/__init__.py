"""Causal layers: the convolution, the gated residual layer, and the stack of them."""

from wavenet.nn.causal_conv import CausalConv1d, PointwiseConv1d
from wavenet.nn.residual import GatedResidualLayer
from wavenet.nn.stack import ResidualStack, cycle_of_dilations, receptive_field

__all__ = [
    "CausalConv1d",
    "GatedResidualLayer",
    "PointwiseConv1d",
    "ResidualStack",
    "cycle_of_dilations",
    "receptive_field",
]
