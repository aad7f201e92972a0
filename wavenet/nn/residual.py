"""The gated residual layer."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.bounds import (
    CHANNELS,
    Channels,
    Dilation,
    Dropout,
    Flag,
    GateChannels,
    Groups,
    KernelSize,
    ResidualScale,
    checked,
)
from wavenet.nn.causal_conv import CausalConv1d, PointwiseConv1d
from wavenet.nn.condition import Condition
from wavenet.types import Integer


class GatedResidualLayer(nn.Module):
    """One layer of the stack: z = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h).

    Van den Oord et al., 2016: the gate is section 2.3, residual and skip connections section
    2.4, the condition h section 2.5. Filter and gate are two halves of one convolution.

    Args:
        residual_channels: Channels of the path that runs through all layers.
        gate_channels: Channels of the dilated convolution, *before* the split into filter and
            gate: each gets half of them, so the number is even.
        skip_channels: Channels of the contribution to the output.
        kernel_size: Taps of the dilated convolution.
        dilation: Distance between taps, samples.
        condition_channels: Channels of the condition; 0 for none.
        bias: Whether the convolutions have biases.
        residual: False for the last layer of a stack, whose residual output is not used.
        groups: Channel groups of the dilated convolution; each group of the residual path gives filters and
            gates of its own.
        dropout: Fraction of the dilated convolution's inputs that is set to 0 in training; the residual path keeps
            them.
        residual_scale: Factor of the residual output; sqrt(0.5) keeps its variance where both summands have the same.

    Raises:
        ValueError: If a number is out of range, or gate_channels cannot be split.
    """

    @checked
    def __init__(
        self,
        residual_channels: Channels,
        gate_channels: GateChannels,
        skip_channels: Channels,
        kernel_size: KernelSize,
        dilation: Dilation,
        condition_channels: Annotated[int, Integer(0, CHANNELS.high)] = 0,
        bias: Flag = True,
        residual: Flag = True,
        groups: Groups = 1,
        dropout: Dropout = 0.0,
        residual_scale: ResidualScale = 1.0,
    ) -> None:
        super().__init__()
        for name, channels, parts in (("residual_channels", residual_channels, 1), ("gate_channels", gate_channels, 2)):
            if channels % (parts * groups):
                raise ValueError(
                    f"GatedResidualLayer: {name} is {channels}; it must be a multiple of {parts * groups} for "
                    f"groups={groups}"
                )
        self.groups = groups
        self.dropout = dropout
        self.residual_scale = residual_scale
        self.dilated = CausalConv1d(residual_channels, gate_channels, kernel_size, dilation, groups, bias)
        self.condition = PointwiseConv1d(condition_channels, gate_channels, bias=False) if condition_channels else None
        self.skip = PointwiseConv1d(gate_channels // 2, skip_channels, bias)
        self.residual = PointwiseConv1d(gate_channels // 2, residual_channels, bias) if residual else None

    def forward(
        self, x: Tensor, condition: Condition | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over a sequence, or over the next piece of one.

        Args:
            x: (B, residual_channels, T).
            condition: The condition of the T samples, or None for a layer without condition.
            state: The dilated convolution's state, or None at the beginning.

        Returns:
            The residual output (B, residual_channels, T), the gated output
            (B, gate_channels / 2, T), whose `skip` the stack adds up, and the state for the next piece.

        Raises:
            ValueError: If a layer without condition is given one, or a condition is missing.
        """
        inputs = F.dropout(x, self.dropout, self.training) if self.dropout else x
        hidden, new_state = self.dilated(inputs, state)
        if (condition is None) != (self.condition is None):
            given, wanted = ("no condition", "one") if condition is None else ("a condition", "none")
            raise ValueError(f"GatedResidualLayer: {given} was given, but the layer was built for {wanted}")
        if self.condition is not None and condition is not None:
            hidden = hidden + condition.upsample(self.condition(condition.values), x.shape[-1])
        filters, gates = filters_and_gates(hidden, self.groups)
        gated = torch.tanh(filters) * torch.sigmoid(gates)
        if self.residual is not None:
            x = x + self.residual(gated)
            x = x if self.residual_scale == 1 else self.residual_scale * x
        return x, gated, new_state

    @property
    def state_shape(self) -> tuple[int, int]:
        """Channels and samples of the state."""
        return self.dilated.state_shape


def filters_and_gates(hidden: Tensor, groups: int = 1, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Split the outputs of a dilated convolution, in which each group has its filters, then its gates.

    >>> filters_and_gates(torch.arange(8), groups=2, dim=0)
    (tensor([0, 1, 4, 5]), tensor([2, 3, 6, 7]))
    """
    if groups == 1:
        filters, gates = hidden.chunk(2, dim)
    else:
        halves = hidden.unflatten(dim, (groups, 2, -1))
        filters, gates = (halves.select(dim + 1, half).flatten(dim, dim + 1) for half in (0, 1))
    return filters, gates
