"""Packing: a network's weights in memory, in the order in which the generation loop reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wavenet.distributions import GaussianMixture, LogisticMixture, Mixture, MuLawCategorical, OutputDistribution
from wavenet.distributions.mixture import ARRIVED, CLIMBS, LOG_SCALE_MAX
from wavenet.model import WaveNet
from wavenet.native.buffers import Array, address, aligned, round_up
from wavenet.native.draw import CATEGORICAL, GAUSSIAN, LOGISTIC
from wavenet.native.instructions import LANES, PANEL
from wavenet.native.layout import Layout, changed
from wavenet.native.rounding import scale_of

KINDS = {MuLawCategorical: CATEGORICAL, LogisticMixture: LOGISTIC, GaussianMixture: GAUSSIAN}


class Network(NamedTuple):
    """A packed model. "Rounded" is up to whole panels.

    The matrices are in one array, one after the other: for each layer the condition and the past
    taps, the oldest first; the input's taps; for each layer the present tap and the residual (except
    for the last layer); the skips of all layers as one matrix; the head's two.

    Attributes:
        biases: Address of a float32 for each output: input; for each layer gate, residual; skip;
            the head's two. All rounded.
        scales: Address of the factors of 8-bit weights, one for each output; laid out like biases.
        embedding: Address of the network's input for each sample that can be drawn, float32 (N, encoded).
        levels: Address of the values of these samples, float32 (N,).
        dilations: Address of each layer's dilation, int64.
        windows: Address of the number of steps that each past tap is computed ahead, int64 (layers, past_taps):
            a power of two, so that a later tap's windows lie within an earlier one's.
        layers: Number of layers.
        past_taps: kernel_size - 1.
        input_taps: Taps of the input convolution.
        encoded: Channels of the network's input.
        condition: Condition channels, or 0.
        residual: Residual channels.
        half: Channels of filter and of gate, rounded to LANES.
        skip: Skip channels.
        classes: Parameter channels of the output: for a categorical its classes.
        rows: residual, rounded.
        gates: Outputs of a gated convolution, 2 * half.
        skips: skip, rounded.
        hidden: Channels of the head's hidden layer.
        hiddens: hidden, rounded.
        outputs: classes, rounded.
        ahead_size: From a layer's condition and past taps to the next layer's.
        input_0: Offset of the input convolution.
        layer_0: Offset of the first layer's present tap.
        layer_size: From a layer's present tap to the next layer's.
        skip_0: Offset of the skip matrix.
        head_0: Offset of the head's first matrix.
        head_1: Offset of its second.
        kind: Type of the distribution: CATEGORICAL, LOGISTIC or GAUSSIAN.
        mixture: Address of a mixture's settings; see `draw_from_mixture`.
        residual_scale: Factor of each layer's residual output.
    """

    biases: int
    scales: int
    embedding: int
    levels: int
    dilations: int
    windows: int
    layers: int
    past_taps: int
    input_taps: int
    encoded: int
    condition: int
    residual: int
    half: int
    skip: int
    classes: int
    rows: int
    gates: int
    skips: int
    hidden: int
    hiddens: int
    outputs: int
    ahead_size: int
    input_0: int
    layer_0: int
    layer_size: int
    skip_0: int
    head_0: int
    head_1: int
    kind: int
    mixture: int
    residual_scale: float


@dataclass
class Packed:
    """A packed model: the arrays that the kernels read, and `net` with their addresses."""

    weights: Array
    biases: Array
    scales: Array
    embedding: Array
    levels: Array
    dilations: Array
    windows: Array
    mixture: Array
    net: Any


@dataclass
class _Block:
    """Matrices (outputs, inputs) whose products are added up, with one bias and scale for each output."""

    matrices: list[Tensor]
    bias: Tensor
    scale: Tensor


def pack(model: WaveNet, dtype: torch.dtype) -> Packed:
    """Pack a model as `Network` describes.

    Args:
        model: A model for which `unsupported_reason` and `unsupported_distribution` return None.
        dtype: Type in which the weights are stored.
    """
    distribution = model.distribution
    assert isinstance(distribution, MuLawCategorical | Mixture)
    levels = distribution.levels()
    layout = Layout(model)
    weights = layout.weights()
    channels = layout.half_channels
    half = round_up(channels, LANES)

    def in_panels(count: int) -> Tensor:
        """Return the order of outputs: unchanged, padded to whole panels with -1 for none."""
        return F.pad(torch.arange(count), (0, -count % PANEL), value=-1)

    each = F.pad(torch.arange(channels), (0, half - channels), value=-1).reshape(-1, LANES)
    gated = torch.cat([each, torch.where(each < 0, each, each + channels)], dim=1).flatten()

    def block(matrices: Sequence[Tensor], bias: Tensor | None, order: Tensor) -> _Block:
        """Build a block of matrices (outputs, inputs) with the bias of their sum."""
        taken = [_take(matrix, order) for matrix in matrices]
        scale = torch.ones(len(order))
        if dtype == torch.int8:
            scale = scale_of(taken)
            taken = [(matrix / scale[:, None]).round() for matrix in taken]
        return _Block(taken, torch.zeros(len(order)) if bias is None else _take(bias, order), scale)

    def of_gates(weight: Tensor) -> Tensor:
        return F.pad(weight, (0, half - channels))  # zeros for the channels that are padding

    rows, skips, hidden, outputs = (
        in_panels(n)
        for n in (layout.residual_channels, layout.skip_channels, layout.hidden_channels, layout.parameter_channels)
    )
    first = block(weights.input.unbind(-1), weights.input_bias, rows)
    gates, residuals = [], []
    for layer in weights.layers:
        condition = [] if layer.condition is None else [layer.condition]
        gates.append(block([*condition, *layer.dilated.unbind(-1)], layer.dilated_bias, gated))
        if layer.residual is None:  # the last layer has none; its space among the biases stays
            residuals.append(_Block([], torch.zeros(len(rows)), torch.ones(len(rows))))
        else:
            residuals.append(block([of_gates(layer.residual)], layer.residual_bias, rows))
    skip_biases = [layer.skip_bias for layer in weights.layers if layer.skip_bias is not None]
    skip_bias = torch.stack(skip_biases).sum(dim=0) if skip_biases else None
    skip = block([torch.cat([of_gates(layer.skip) for layer in weights.layers], dim=1)], skip_bias, skips)
    head = [
        block([weights.hidden], weights.hidden_bias, hidden),
        block([weights.output], weights.output_bias, outputs),
    ]

    ahead = [matrix for gate in gates for matrix in gate.matrices[:-1]]
    now = [[gate.matrices[-1], *residual.matrices] for gate, residual in zip(gates, residuals, strict=True)]
    last = [matrix for part in (skip, *head) for matrix in part.matrices]
    matrices = [*ahead, *first.matrices, *(matrix for layer in now for matrix in layer), *last]
    in_order = [first, *(part for pair in zip(gates, residuals, strict=True) for part in pair), skip, *head]

    flat = torch.cat([m.reshape(-1, PANEL, m.shape[1]).transpose(1, 2).flatten() for m in matrices]).to(dtype)
    as_integers = {torch.float16: torch.int16, torch.bfloat16: torch.uint16}  # numba has no such floats
    dilations = [layer.dilation for layer in layout.layers]
    past_taps = layout.kernel_size - 1
    packed = Packed(
        weights=aligned(flat.view(as_integers.get(dtype, dtype)).numpy()),
        biases=aligned(torch.cat([part.bias for part in in_order]).numpy()),
        scales=aligned(torch.cat([part.scale for part in in_order]).numpy()),
        embedding=aligned(distribution.encode(levels[None])[0].T.numpy()),
        levels=aligned(levels.numpy()),
        dilations=np.array(dilations, np.int64),
        windows=np.array(
            [2 ** ((past_taps - tap) * d).bit_length() // 2 for d in dilations for tap in range(past_taps)], np.int64
        ),
        mixture=mixture_settings(distribution),
        net=None,
    )
    sizes = [sum(m.numel() for m in part) for part in (ahead, first.matrices, now[0], *now[1:], last[:1], last[1:2])]
    offsets = list(accumulate(sizes, initial=0))
    packed.net = Network(
        biases=address(packed.biases),
        scales=address(packed.scales),
        embedding=address(packed.embedding),
        levels=address(packed.levels),
        dilations=address(packed.dilations),
        windows=address(packed.windows),
        layers=len(layout.layers),
        past_taps=past_taps,
        input_taps=layout.input_kernel_size,
        encoded=layout.encoded_channels,
        condition=layout.condition_channels,
        residual=layout.residual_channels,
        half=half,
        skip=layout.skip_channels,
        classes=layout.parameter_channels,
        rows=len(rows),
        gates=len(gated),
        skips=len(skips),
        hidden=layout.hidden_channels,
        hiddens=len(hidden),
        outputs=len(outputs),
        ahead_size=len(ahead) and sizes[0] // len(layout.layers),
        input_0=offsets[1],
        layer_0=offsets[2],
        layer_size=sizes[2],
        skip_0=offsets[-3],
        head_0=offsets[-2],
        head_1=offsets[-1],
        kind=KINDS[type(distribution)],
        mixture=address(packed.mixture),
        residual_scale=float(layout.residual_scale),
    )
    return packed


def unsupported_distribution(distribution: OutputDistribution) -> str | None:
    """Return why compiled code cannot draw from a distribution as its `sample` does; None if it can."""
    if type(distribution) not in KINDS:
        return f"it does not support the output distribution {type(distribution).__name__}"
    return changed("distribution", distribution, type(distribution))


def mixture_settings(distribution: MuLawCategorical | Mixture) -> Array:
    """Return the settings of `draw_from_mixture`; zeros for a categorical."""
    if not isinstance(distribution, Mixture):
        return np.zeros(6)
    half = 2 ** (distribution.bits - 1)
    arrived = ARRIVED * distribution.bin_width
    return np.array([distribution.num_mixtures, half, distribution.log_scale_min, LOG_SCALE_MAX, CLIMBS, arrived])


def _take(rows: Tensor, order: Tensor) -> Tensor:
    """Return the rows in that order; zeros where it is -1."""
    return torch.cat([rows, torch.zeros_like(rows[:1])])[order]
