"""The weights of a network as the native kernels of training take them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wavenet.native import Layout
from wavenet.native.layout import NetworkWeights

_NO_CLASS = -1e30  # bias of outputs that only fill up a panel: their probability is 0
_FILLERS = [0.0, _NO_CLASS]  # come before the weights


class Matrices(NamedTuple):
    """All weights, [input][output], padded to whole panels with zeros.

    E encoded, C condition, R residual, H half, S skip, D hidden and P parameter channels. The order of 2 H
    outputs is that of `cpu_kernels`.
    """

    input: Tensor  # (input taps, E, R)
    dilated: Tensor  # (layers, taps, R, 2 H)
    conditioned: Tensor  # (layers, C, 2 H); C = 0 without a condition
    to_residual: Tensor  # (layers - 1, H, R)
    to_skip: Tensor  # (layers, H, S)
    head_0: Tensor  # (S, D)
    head_1: Tensor  # (D, P)


class Biases(NamedTuple):
    """All biases, padded in the same way."""

    input_bias: Tensor  # (R,)
    residual_bias: Tensor  # (layers - 1, R)
    skip_bias: Tensor  # (S,): of all layers together
    head_0_bias: Tensor  # (D,)
    head_1_bias: Tensor  # (P,); very negative where it fills up a panel


class PackedWeights(NamedTuple):
    """All weights and biases; `gate_bias` (layers, 2 H) is that of the dilated convolutions."""

    matrices: Matrices
    biases: Biases
    gate_bias: Tensor


class WeightPacking:
    """Packs the weights of a network; autograd returns the gradients to the model's parameters.

    Weights that are parameters as they are, as usual, are gathered in one step, whose indices are found by packing
    numbers in their place. Computed ones (`torch.nn.utils.parametrize`) are packed one by one.

    Args:
        layout: The network's layout.
        kernels: `cpu_kernels`.
    """

    def __init__(self, layout: Layout, kernels: Any) -> None:
        self._layout, self._kernels = layout, kernels
        self._indexed: list[nn.Parameter] = []  # for which the indices are, kept so that no other one gets their ids
        self._kinds: list[tuple[int, torch.Size]] = []  # and their ids and shapes

    def pack(self) -> PackedWeights:
        """Pack the present weights.

        Raises:
            UnknownNetworkError: If a weight has the wrong shape or precision.
        """
        stored = self._layout.stored() if self._layout.residual_scale == 1 else None
        if stored is None:
            return self._named(self._arranged(self._layout.weights()))
        kinds = [(id(parameter), parameter.shape) for parameter in stored]
        if kinds != self._kinds:
            self._layout.weights()  # checks them
            self._find_indices(stored)
            self._indexed, self._kinds = stored, kinds
        packed = _Gather.apply(self._indices, self._inverse, *stored)
        assert isinstance(packed, Tensor)
        parts = packed.split([shape.numel() for shape in self._shapes])
        return self._named([part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)])

    def _find_indices(self, stored: Sequence[nn.Parameter]) -> None:
        """Find which number of which weight each packed number is, and where each of the weights' numbers went."""
        counts = [parameter.numel() for parameter in stored]
        numbers = torch.arange(len(_FILLERS), len(_FILLERS) + sum(counts), dtype=torch.float64).split(counts)
        stand_ins = {id(p): part.view(p.shape) for p, part in zip(stored, numbers, strict=True)}
        packed = self._arranged(self._layout.weights(stand_ins), no_class=_FILLERS.index(_NO_CLASS))
        self._shapes = [each.shape for each in packed]
        self._indices = torch.cat([each.flatten() for each in packed]).int()
        self._inverse = self._indices.argsort(stable=True)[-sum(counts) :].int()

    def _arranged(self, weights: NetworkWeights, no_class: float = _NO_CLASS) -> list[Tensor]:
        """Return the fields of `PackedWeights` in order, except that each layer has its own skip bias."""
        layout, layers, pad = self._layout, weights.layers, self._pad
        residual, half = layout.residual_channels, layout.half_channels

        def stacked(tensors: Sequence[Tensor | None], *shape: int) -> Tensor:
            present = [each for each in tensors if each is not None]
            return torch.stack(present) if present else torch.zeros(max(1, len(tensors)), *shape)

        def transposed(matrices: Tensor) -> Tensor:
            """Convert (..., outputs, inputs) -> (..., inputs, outputs), inputs rounded up."""
            return pad(matrices).transpose(-2, -1)

        dilated = self._scaled(torch.stack([layer.dilated for layer in layers]))
        to_residual = self._scaled(stacked([layer.residual for layer in layers[:-1]], residual, half), -1)
        residual_bias = self._scaled(stacked([layer.residual_bias for layer in layers[:-1]], residual), -1)
        conditioned = stacked([layer.condition for layer in layers], 2 * half, 0)
        return [
            pad(transposed(weights.input.permute(2, 0, 1))),
            self._order(transposed(dilated.permute(0, 3, 1, 2))),
            self._order(transposed(conditioned)),
            pad(transposed(to_residual)),
            pad(transposed(torch.stack([layer.skip for layer in layers]))),
            pad(transposed(weights.hidden)),
            pad(transposed(weights.output)),
            pad(torch.zeros(residual) if weights.input_bias is None else weights.input_bias),
            pad(residual_bias),
            pad(stacked([layer.skip_bias for layer in layers], layout.skip_channels)),
            pad(weights.hidden_bias),
            pad(weights.output_bias, no_class),
            self._order(stacked([layer.dilated_bias for layer in layers], 2 * half)),
        ]

    def _named(self, arranged: Sequence[Tensor]) -> PackedWeights:
        count = len(Matrices._fields)
        biases = Biases(*arranged[count:-1])
        biases = biases._replace(skip_bias=biases.skip_bias.sum(dim=0))
        return PackedWeights(Matrices(*arranged[:count]), biases, arranged[-1])

    def _scaled(self, weights: Tensor, power: int = 1) -> Tensor:
        """Multiply weights of layers (first dimension) by residual_scale ** (power * layer)."""
        scale = self._layout.residual_scale
        if scale == 1:
            return weights
        factors = scale ** (power * torch.arange(len(weights), dtype=torch.float64))
        return weights * factors.float().view(-1, *[1] * (weights.dim() - 1))

    def _pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Pad the last dimension to whole panels."""
        return F.pad(x, (0, -x.shape[-1] % self._kernels.PANEL), value=value)

    def _order(self, x: Tensor) -> Tensor:
        """Reorder the last dimension, filters and then gates, as in `cpu_kernels`."""
        halves = self._pad(x.unflatten(-1, (2, -1)))
        return halves.unflatten(-1, (-1, self._kernels.LANES)).transpose(-3, -2).flatten(-3)


class _Gather(torch.autograd.Function):
    """Gathers the numbers of parameters by their indices; the gradients follow each other in memory."""

    @staticmethod
    def forward(ctx: Any, indices: Tensor, inverse: Tensor, *parameters: Tensor) -> Tensor:
        ctx.inverse, ctx.shapes = inverse, [parameter.shape for parameter in parameters]
        numbers = torch.cat([torch.tensor(_FILLERS), *(parameter.flatten() for parameter in parameters)])
        return numbers.index_select(0, indices)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = grads[0].index_select(0, ctx.inverse).split([shape.numel() for shape in ctx.shapes])
        return None, None, *(part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True))
