"""The gated residual layer."""

import torch
from torch import Tensor, nn

from wavenet.checks import check_positive_int, is_whole
from wavenet.nn.causal_conv import CausalConv1d, PointwiseConv1d
from wavenet.nn.condition import Condition


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
        residual: False for the last layer of a stack, whose residual output nobody reads.

    Raises:
        ValueError: If a number is out of range or gate_channels is odd.
    """

    def __init__(
        self,
        residual_channels: int,
        gate_channels: int,
        skip_channels: int,
        kernel_size: int,
        dilation: int,
        condition_channels: int = 0,
        bias: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        check_positive_int(
            "GatedResidualLayer",
            residual_channels=residual_channels,
            gate_channels=gate_channels,
            skip_channels=skip_channels,
        )
        if gate_channels % 2:
            raise ValueError(
                f"GatedResidualLayer: gate_channels is {gate_channels}; it must be even, "
                f"because it is split into filter and gate: {gate_channels + 1} would do"
            )
        if not is_whole(condition_channels) or condition_channels < 0:
            raise ValueError(
                f"GatedResidualLayer: condition_channels is {condition_channels!r}; it must be a whole number from 0"
            )
        self.dilated = CausalConv1d(residual_channels, gate_channels, kernel_size, dilation, bias=bias)
        self.condition = PointwiseConv1d(condition_channels, gate_channels, bias=False) if condition_channels else None
        self.skip = PointwiseConv1d(gate_channels // 2, skip_channels, bias)
        self.residual = PointwiseConv1d(gate_channels // 2, residual_channels, bias) if residual else None

    def forward(
        self, x: Tensor, condition: Condition | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over a sequence, or over the next piece of one.

        Args:
            x: (B, residual_channels, T).
            condition: What the T samples are told, or None for a layer without condition.
            state: The dilated convolution's state, or None at the beginning.

        Returns:
            The residual output (B, residual_channels, T), the gated output
            (B, gate_channels / 2, T), whose `skip` the stack adds up, and the state for the next piece.

        Raises:
            ValueError: If a condition is given to a layer without one, or is missing.
        """
        hidden, new_state = self.dilated(x, state)
        if (condition is None) != (self.condition is None):
            given, wanted = ("no condition", "one") if condition is None else ("a condition", "none")
            raise ValueError(f"GatedResidualLayer: {given} was given, but the layer was built for {wanted}")
        if self.condition is not None and condition is not None:
            hidden = hidden + condition.hold(self.condition(condition.values), x.shape[-1])
        filters, gates = hidden.chunk(2, dim=1)
        gated = torch.tanh(filters) * torch.sigmoid(gates)
        if self.residual is not None:
            x = x + self.residual(gated)
        return x, gated, new_state
