"""Causal layers: the convolution, the gated residual layer, and stacks of gated residual layers."""

from wavenet.nn.causal_conv import CausalConv1d, PointwiseConv1d
from wavenet.nn.condition import Condition, batch_conditions
from wavenet.nn.context import ContextStack
from wavenet.nn.head import Head
from wavenet.nn.residual import GatedResidualLayer, filters_and_gates
from wavenet.nn.stack import ResidualStack, cycle_of_dilations, receptive_field
from wavenet.nn.upsampling import Upsampling

__all__ = [
    "CausalConv1d",
    "Condition",
    "ContextStack",
    "GatedResidualLayer",
    "Head",
    "PointwiseConv1d",
    "ResidualStack",
    "Upsampling",
    "batch_conditions",
    "cycle_of_dilations",
    "filters_and_gates",
    "receptive_field",
]
