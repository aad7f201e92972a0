"""Stacks of gated residual layers in cycles of doubling dilation."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from wavenet.bounds import (
    CHANNELS,
    MAX_LAYERS,
    Channels,
    DilationCycle,
    Dilations,
    Dropout,
    Flag,
    GateChannels,
    Groups,
    KernelSize,
    NumCycles,
    ResidualScale,
    checked,
)
from wavenet.nn.causal_conv import PointwiseConv1d, convolve
from wavenet.nn.condition import Condition
from wavenet.nn.residual import GatedResidualLayer
from wavenet.nn.unmodified import is_unmodified
from wavenet.types import Integer

_LONG = 16  # steps; from here on, the skips of all layers are computed as one product


@checked
def cycle_of_dilations(dilation_cycle: DilationCycle, num_cycles: NumCycles) -> list[int]:
    """Dilations 1, 2, 4, ... 2**(dilation_cycle - 1), repeated num_cycles times (section 2.1).

    Args:
        dilation_cycle: Layers in a cycle.
        num_cycles: How many times the cycle is repeated.

    Returns:
        One dilation for each layer, samples.

    Raises:
        ValueError: If a number is not a whole number of at least 1.

    >>> cycle_of_dilations(4, 2)
    [1, 2, 4, 8, 1, 2, 4, 8]
    """
    if dilation_cycle * num_cycles > MAX_LAYERS:
        raise ValueError(
            f"dilation_cycle x num_cycles make {dilation_cycle * num_cycles} layers; a model has at most {MAX_LAYERS}"
        )
    return [2**i for i in range(dilation_cycle)] * num_cycles


def receptive_field(kernel_size: int, dilations: Sequence[int]) -> int:
    """Return the number of input samples that one output of a stack depends on, the present one included.

    Args:
        kernel_size: Taps of each convolution.
        dilations: One for each layer, samples.

    Returns:
        (kernel_size - 1) times the sum of the dilations, plus 1; samples.

    >>> receptive_field(2, cycle_of_dilations(10, 3))
    3070
    """
    return (kernel_size - 1) * sum(dilations) + 1


class ResidualStack(nn.Module):
    """A stack of gated residual layers; the output is the sum of their skip connections.

    Van den Oord et al., 2016, section 2.4 and figure 4.

    Args:
        residual_channels: Channels of the residual path.
        gate_channels: Channels of each dilated convolution before the split; even.
        skip_channels: Channels of the output.
        kernel_size: Taps of each dilated convolution.
        dilations: One dilation for each layer, samples.
        condition_channels: Channels of the condition; 0 for none.
        bias: Whether the convolutions have biases.
        groups: Channel groups of each dilated convolution; see `GatedResidualLayer`, also for the next two.
        dropout: Dropout of each dilated convolution's inputs.
        residual_scale: Factor of each layer's residual output.
        last_residual: Whether the last layer has a residual convolution, too. Its output is not used, so it is
            never trained; published networks have one, and include it in their parameter counts.
        make_layer: Builds a layer from the keyword arguments of `GatedResidualLayer`; None uses that class. A custom
            layer must have its `forward`, its `skip` and its `state_shape`.

    Attributes:
        num_layers: Number of layers, each of which has a state.
        receptive_field: Samples that one output depends on, the present one included.
        gradient_checkpointing: If True, training keeps only each layer's input and computes the
            rest again for the backward pass: less memory for about a third more time.

    Raises:
        ValueError: If a number is out of range, or there are no dilations.
    """

    @checked
    def __init__(
        self,
        residual_channels: Channels,
        gate_channels: GateChannels,
        skip_channels: Channels,
        kernel_size: KernelSize,
        dilations: Dilations,
        condition_channels: Annotated[int, Integer(0, CHANNELS.high)] = 0,
        bias: Flag = True,
        groups: Groups = 1,
        dropout: Dropout = 0.0,
        residual_scale: ResidualScale = 1.0,
        last_residual: Flag = False,
        make_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        numbers: dict[str, Any] = {
            "residual_channels": residual_channels,
            "gate_channels": gate_channels,
            "skip_channels": skip_channels,
            "kernel_size": kernel_size,
            "condition_channels": condition_channels,
            "bias": bias,
            "groups": groups,
            "dropout": dropout,
            "residual_scale": residual_scale,
        }
        make, last = make_layer or GatedResidualLayer, len(dilations) - 1
        self.layers = nn.ModuleList(
            make(**numbers, dilation=dilation, residual=last_residual or index < last)
            for index, dilation in enumerate(dilations)
        )
        unused = getattr(self.layers[last], "residual", None)
        if isinstance(unused, nn.Module):
            unused.requires_grad_(False)
        self.condition_channels = condition_channels
        self.receptive_field = receptive_field(kernel_size, dilations)
        self.gradient_checkpointing = False

    def forward(
        self, x: Tensor, condition: Condition | None = None, state: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the stack over a sequence, or over the next piece of one.

        Args:
            x: (B, residual_channels, T).
            condition: The condition of the T samples, or None.
            state: One state for each layer, as an earlier call returned them, or None.

        Returns:
            The sum of the skips (B, skip_channels, T), and the states for the next piece.
        """
        states = list(state) if state is not None else [None] * len(self.layers)
        outputs = []
        new_states = []
        for layer, layer_state in zip(self.layers, states, strict=True):
            if self.gradient_checkpointing and self.training:
                x, gated, new_state = torch.utils.checkpoint.checkpoint(
                    layer, x, condition, layer_state, use_reentrant=False
                )
            else:
                x, gated, new_state = layer(x, condition, layer_state)
            outputs.append(gated)
            new_states.append(new_state)
        return self._skips(outputs), new_states

    @property
    def num_layers(self) -> int:
        """Number of layers, which is that of states."""
        return len(self.layers)

    @property
    def state_shapes(self) -> list[tuple[int, int]]:
        """Channels and samples of each layer's state."""
        return [layer.state_shape for layer in self.layers]  # pyright: ignore[reportReturnType]

    def _skips(self, gated: list[Tensor]) -> Tensor:
        """Return the sum of all layers' skips; for a whole segment it is one matrix product.

        A running sum would be read and written once per layer. For single steps that costs little, and
        concatenating the weights would cost more.
        """
        skips: list[PointwiseConv1d] = [layer.skip for layer in self.layers]  # pyright: ignore
        if gated[0].shape[-1] < _LONG or not all(is_unmodified(skip, PointwiseConv1d) for skip in skips):
            total = skips[0](gated[0])
            for skip, z in zip(skips[1:], gated[1:], strict=True):
                total = total + skip(z)
            return total
        weight = torch.cat([skip.weight for skip in skips], dim=1)
        biases = [skip.bias for skip in skips if skip.bias is not None]
        bias = torch.stack(biases).sum(dim=0) if biases else None
        return convolve(torch.cat(gated, dim=1), weight, bias)
