"""The network's forward and backward pass on a CPU, compiled to machine code by numba when it is first used.

A training step done layer by layer waits for memory: every layer's outputs are written, and read back
by the next operation, long after they left the caches. Here time is split into chunks of CHUNK samples, and
a chunk goes through the whole network while it is in the cache. A layer reads past samples from its stored
inputs, and gradients of later samples from memory: the backward pass runs from the last chunk to the first, and
has stored them already.

Stored for the backward pass are each layer's inputs, tanh(filter) and sigmoid(gate), the two hidden layers of the
head, and the parameters. Gradients of a layer's sums overwrite its gates.

With labels, the parameters are a softmax's logits. A chunk's log-probabilities are computed while its logits are in
the cache, and so is their gradient, which is never stored as a whole.

**Layout.** Rows are samples; columns are channels, padded to whole panels of PANEL channels with zeros.
A matrix is stored as panels of PANEL outputs, [panel][input][PANEL], as in generation. The outputs of
a gated convolution alternate: LANES filters, then the LANES gates of the same channels.

Addresses and strides are plain integers, in bytes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from wavenet.native.barrier import wait_for_all
from wavenet.native.elementwise import LOWEST, clamp, constant, emit_exponential, gate_exponentials, in_all_lanes
from wavenet.native.instructions import (
    I32,
    LANES,
    PANEL,
    VECTOR,
    instruction,
    jit,
    load,
    load_int,
    pointer,
    store,
)
from wavenet.native.tiles import DEPTH, TILE_ROWS, add_tile

CHUNK = 128  # samples that go through the network at once


class Network(NamedTuple):
    """Sizes (channels, rounded to whole panels) and the addresses of the matrices and biases.

    A matrix's name with `_back` is its transpose. The layers' matrices are stored one after the other.
    """

    layers: int
    taps: int
    input_taps: int
    encoded: int
    condition: int  # 0 without a condition that changes with time
    residual: int
    half: int
    skip: int
    hidden: int  # of the head
    outputs: int
    dilations: int  # address of int64
    input: int
    dilated: int
    conditioned: int
    to_residual: int
    to_skip: int
    head_0: int
    head_1: int
    input_back: int
    dilated_back: int
    conditioned_back: int
    to_residual_back: int
    to_skip_back: int
    head_0_back: int
    head_1_back: int
    input_bias: int
    residual_bias: int
    skip_bias: int
    head_0_bias: int
    head_1_bias: int


class Utterance(NamedTuple):
    """Addresses of float32 rows of one utterance, time 0 first; S samples, a multiple of CHUNK * threads."""

    steps: int  # S
    encoded: int  # (S, encoded), zeros before it
    conditions: int  # (S, condition)
    fixed: int  # (layers, 2 * half): bias and constant condition
    inputs: int  # of the layers: (pad + S, residual) each, zeros before time 0
    gates: int  # (S + pad, 2 * half) each, zeros after the end
    skips: int  # (S, skip), rectified
    hidden: int  # (S, hidden), rectified
    parameters: int  # (S, outputs)
    input_grad: int  # (S, residual), of the first layer's input, an output; zeros after the end
    encoded_grad: int  # (S, encoded), an output
    conditions_grad: int  # (S, condition), an output
    parameters_grad: int  # (S, outputs), without labels
    labels: int  # (S,) int64: the class whose log-probability is wanted; 0, as the next three, for the parameters alone
    totals: int  # (S,), logarithm of the sum of the exponentials of the logits
    log_prob: int  # (S,), an output
    log_prob_grad: int  # (S,)


class Scratch(NamedTuple):
    """Addresses of one thread's buffers: rows of CHUNK samples, and gradients that it adds to."""

    gated: int  # (CHUNK, half)
    lanes: int  # (PANEL,)
    gated_grad: int  # (CHUNK, half)
    residual_grad: int  # (CHUNK, residual)
    skip_grad: int  # (CHUNK, skip)
    hidden_grad: int  # (CHUNK, hidden)
    parameters_grad: int  # (CHUNK, outputs)
    fixed: int  # gradient of Utterance.fixed
    input: int  # gradients of the matrices, [input][output], and of the biases
    dilated: int
    conditioned: int
    to_residual: int
    to_skip: int
    head_0: int
    head_1: int
    input_bias: int
    residual_bias: int
    skip_bias: int
    head_0_bias: int
    head_1_bias: int


# ---- instructions -------------------------------------------------------------------------------


@instruction(types.void, types.int64)
def _clear(b: Any, out: Any) -> None:
    """Write a register of zeros."""
    b.store(ir.Constant(VECTOR, [0.0] * LANES), pointer(b, out, VECTOR), align=4)


@instruction(types.void, types.int64, types.int64)
def _copy(b: Any, x: Any, out: Any) -> None:
    """Write LANES floats."""
    b.store(b.load(pointer(b, x, VECTOR), align=4), pointer(b, out, VECTOR), align=4)


@instruction(types.void, types.int64, types.int64, types.int64)
def _add(b: Any, x: Any, y: Any, out: Any) -> None:
    """Write x + y, LANES floats each."""
    x, y = (b.load(pointer(b, place, VECTOR), align=4) for place in (x, y))
    b.store(b.fadd(x, y), pointer(b, out, VECTOR), align=4)


@instruction(types.void, types.int64)
def _rectify(b: Any, x: Any) -> None:
    """Compute max(x, 0) of LANES floats in place; NaN stays NaN."""
    place = pointer(b, x, VECTOR)
    x = b.load(place, align=4)
    zero = constant(x, 0)
    b.store(b.select(b.fcmp_ordered("<", x, zero), zero, x), place, align=4)


@instruction(types.void, types.int64, types.int64)
def _pass_where_positive(b: Any, x: Any, grad: Any) -> None:
    """Clear LANES gradients where the rectified x is 0."""
    place = pointer(b, grad, VECTOR)
    x, grad = b.load(pointer(b, x, VECTOR), align=4), b.load(place, align=4)
    zero = constant(x, 0)
    b.store(b.select(b.fcmp_unordered(">", x, zero), grad, zero), place, align=4)


@instruction(types.void, types.int64, types.int64)
def _gate(b: Any, sums: Any, gated: Any) -> None:
    """Overwrite a panel of sums with tanh(filter) and sigmoid(gate), within 3e-7; write their products.

    With a = exp(-2 filter) and c = exp(-gate), both come from one division by (1 + a) * (1 + c).
    """
    one, a, c = gate_exponentials(b, sums)
    share = b.fdiv(one, b.fmul(b.fadd(one, a), b.fadd(one, c)))
    tanh = b.fmul(b.fmul(b.fsub(one, a), b.fadd(one, c)), share)
    sigmoid = b.fmul(b.fadd(one, a), share)
    for i, value in enumerate((tanh, sigmoid)):
        b.store(value, pointer(b, sums, VECTOR, i), align=4)
    b.store(b.fmul(tanh, sigmoid), pointer(b, gated, VECTOR), align=4)


@instruction(types.void, types.int64, types.int64)
def _gate_again(b: Any, gates: Any, gated: Any) -> None:
    """Write tanh * sigmoid of a panel."""
    tanh, sigmoid = (b.load(pointer(b, gates, VECTOR, i), align=4) for i in range(2))
    b.store(b.fmul(tanh, sigmoid), pointer(b, gated, VECTOR), align=4)


@instruction(types.void, types.int64, types.int64, types.int64)
def _gate_back(b: Any, gates: Any, grad: Any, total: Any) -> None:
    """Overwrite a panel of tanh and sigmoid with the gradients of their sums; add these to `total`."""
    places, totals = ([pointer(b, address, VECTOR, i) for i in range(2)] for address in (gates, total))
    tanh, sigmoid = (b.load(place, align=4) for place in places)
    grad = b.load(pointer(b, grad, VECTOR), align=4)
    one, carried = constant(tanh, 1), b.fmul(grad, sigmoid)
    slopes = b.fsub(one, b.fmul(tanh, tanh)), b.fmul(tanh, b.fsub(one, sigmoid))
    for slope, place, sum_place in zip(slopes, places, totals, strict=True):
        value = b.fmul(carried, slope)
        b.store(value, place, align=4)
        b.store(b.fadd(b.load(sum_place, align=4), value), sum_place, align=4)


@instruction(types.void, types.int64, types.int64)
def _keep_larger(b: Any, x: Any, largest: Any) -> None:
    """Write the larger of two numbers in each lane of a panel to `largest`."""
    for i in range(2):
        place = pointer(b, largest, VECTOR, i)
        value, before = b.load(pointer(b, x, VECTOR, i), align=4), b.load(place, align=4)
        b.store(b.select(b.fcmp_unordered(">", value, before), value, before), place, align=4)


@instruction(types.void, types.int64, types.float32, types.int64)
def _add_exponentials(b: Any, x: Any, shift: Any, total: Any) -> None:
    """Add exp(x - shift) to `total` in each lane of a panel."""
    for i in range(2):
        value, place = b.load(pointer(b, x, VECTOR, i), align=4), pointer(b, total, VECTOR, i)
        value = emit_exponential(b, clamp(b, b.fsub(value, in_all_lanes(b, shift)), float(LOWEST), 0))
        b.store(b.fadd(b.load(place, align=4), value), place, align=4)


@instruction(types.void, types.int64, types.float32, types.float32, types.int64)
def _scaled_exponentials(b: Any, x: Any, shift: Any, factor: Any, out: Any) -> None:
    """Write factor * exp(x - shift) for a panel."""
    for i in range(2):
        value = b.load(pointer(b, x, VECTOR, i), align=4)
        value = emit_exponential(b, clamp(b, b.fsub(value, in_all_lanes(b, shift)), float(LOWEST), 0))
        b.store(b.fmul(in_all_lanes(b, factor), value), pointer(b, out, VECTOR, i), align=4)


@instruction(types.float32, types.int64)
def _largest(b: Any, x: Any) -> Any:
    """Return the largest number of a panel."""
    return _reduced(b, x, lambda one, other: b.select(b.fcmp_unordered(">", one, other), one, other))


@instruction(types.float32, types.int64)
def _sum(b: Any, x: Any) -> Any:
    """Return the sum of a panel."""
    return _reduced(b, x, b.fadd)


def _reduced(b: Any, x: Any, operation: Any) -> Any:
    """Emit one number from all lanes of a panel: by halves."""
    value = operation(*(b.load(pointer(b, x, VECTOR, i), align=4) for i in range(2)))
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        halves = (ir.Constant(ir.VectorType(I32, lanes), [start + i for i in range(lanes)]) for start in (0, lanes))
        value = operation(*(b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), each) for each in halves))
    return b.extract_element(value, ir.Constant(I32, 0))


# ---- rows ---------------------------------------------------------------------------------------


@jit
def stride(width):
    """Return the bytes from a row of `width` floats to the next: no large power of two, whose rows collide in cache."""
    return 4 * width + (64 if width >= 128 else 0)


@jit
def multiply(x, x_row, x_step, rows, matrix, matrix_step, panel_size, panels, depth, out, out_row):
    """Compute out[r, n] += sum over k of x[r, k] * matrix[k, n]; n counts the outputs of whole panels.

    Args:
        x: Address of x[0, 0].
        x_row: Bytes from x[r, k] to x[r + 1, k].
        x_step: Bytes from x[r, k] to x[r, k + 1].
        rows: Number of rows, a multiple of TILE_ROWS.
        matrix: Address of matrix[0, 0].
        matrix_step: Bytes from matrix[k, n] to matrix[k + 1, n].
        panel_size: Bytes from a panel to the next.
        panels: Number of panels.
        depth: Number of terms in a sum.
        out: Address of out[0, 0].
        out_row: Bytes from out[r, n] to out[r + 1, n].
    """
    for panel in range(panels):
        for k in range(0, depth, DEPTH):
            from_, terms = matrix + panel * panel_size + k * matrix_step, min(DEPTH, depth - k)
            for r in range(0, rows, TILE_ROWS):
                to = out + r * out_row + 4 * PANEL * panel
                add_tile(x + r * x_row + k * x_step, x_row, x_step, from_, matrix_step, terms, to, out_row)


@jit
def forwards(x, depth, matrix, outputs, out, out_row):
    """Add products: out += x @ matrix for the rows of a chunk: (CHUNK, depth) and (CHUNK, outputs)."""
    multiply(
        x, stride(depth), 4, CHUNK, matrix, 4 * PANEL, 4 * PANEL * depth, outputs // PANEL, depth, out, out_row,
    )  # fmt: skip


@jit
def matrix_grad(x, inputs, grad, outputs, out):
    """Add a matrix's gradient of a chunk: out += x.T @ grad, (CHUNK, inputs) and (CHUNK, outputs)."""
    multiply(
        x, 4, stride(inputs), inputs, grad, stride(outputs), 4 * PANEL, outputs // PANEL, CHUNK, out, 4 * outputs,
    )  # fmt: skip


@jit
def clear(out, out_row, width, rows):
    """Write zeros."""
    for r in range(rows):
        for i in range(0, 4 * width, 4 * LANES):
            _clear(out + r * out_row + i)


@jit
def copy(x, x_row, width, rows, out, out_row):
    """Copy rows."""
    for r in range(rows):
        for i in range(0, 4 * width, 4 * LANES):
            _copy(x + r * x_row + i, out + r * out_row + i)


@jit
def add_all(rows, width, out):
    """Add CHUNK rows to one row, `out`."""
    for r in range(CHUNK):
        for i in range(0, 4 * width, 4 * LANES):
            _add(out + i, rows + r * stride(width) + i, out + i)


@jit
def rectify(x, width):
    """Compute max(x, 0) in place."""
    for r in range(CHUNK):
        for i in range(0, 4 * width, 4 * LANES):
            _rectify(x + r * stride(width) + i)


@jit
def pass_where_positive(x, grad, width):
    """Clear gradients where the rectified x is 0."""
    for r in range(CHUNK):
        for i in range(0, 4 * width, 4 * LANES):
            _pass_where_positive(x + r * stride(width) + i, grad + r * stride(width) + i)


@jit
def log_probabilities(logits, outputs, labels, lanes, totals, log_prob):
    """Compute the log-probability of each label of CHUNK rows, and the logarithm of the sum of exponentials.

    Args:
        logits: Address of (CHUNK, outputs).
        outputs: Classes, rounded to whole panels; the logits beyond them are far below all others.
        labels: Address of (CHUNK,) int64.
        lanes: Address of a panel, used as a buffer.
        totals: Address of (CHUNK,), written.
        log_prob: Address of (CHUNK,), written.
    """
    for r in range(CHUNK):
        row = logits + 4 * outputs * r
        copy(row, 0, PANEL, 1, lanes, 0)
        for i in range(4 * PANEL, 4 * outputs, 4 * PANEL):
            _keep_larger(row + i, lanes)
        highest = _largest(lanes)
        clear(lanes, 0, PANEL, 1)
        for i in range(0, 4 * outputs, 4 * PANEL):
            _add_exponentials(row + i, highest, lanes)
        total = highest + np.float32(math.log(_sum(lanes)))
        store(totals, r, total)
        store(log_prob, r, load(row, load_int(labels, r)) - total)


@jit
def log_probabilities_back(logits, outputs, labels, totals, log_prob_grad, grad):
    """Compute the logits' gradient from the log-probabilities'; see `log_probabilities`.

    Args:
        logits: Address of (CHUNK, outputs).
        outputs: Classes, rounded.
        labels: Address of (CHUNK,) int64.
        totals: Address of (CHUNK,).
        log_prob_grad: Address of (CHUNK,).
        grad: Address of (CHUNK, outputs), rows at `stride(outputs)`, written.
    """
    for r in range(CHUNK):
        row, out, carried = logits + 4 * outputs * r, grad + stride(outputs) * r, load(log_prob_grad, r)
        for i in range(0, 4 * outputs, 4 * PANEL):
            _scaled_exponentials(row + i, load(totals, r), -carried, out + i)
        label = load_int(labels, r)
        store(out, label, load(out, label) + carried)


# ---- the network --------------------------------------------------------------------------------


@jit
def inputs_of(net, utterance, layer, t):
    """Return the address of a layer's input at time t; `layer` must be below `net.layers`."""
    at = utterance.inputs
    for i in range(layer + 1):
        pad = (net.taps - 1) * load_int(net.dilations, i)
        at += stride(net.residual) * (pad + (utterance.steps if i < layer else t))
    return at


@jit
def gates_of(net, utterance, layer, t):
    """Return the address of a layer's gates at time t."""
    at = utterance.gates
    for i in range(layer):
        at += stride(2 * net.half) * (utterance.steps + (net.taps - 1) * load_int(net.dilations, i))
    return at + stride(2 * net.half) * t


@jit
def clear_pads(net, utterance):
    """Write the zeros before the beginning and after the end."""
    for layer in range(net.layers):
        pad = (net.taps - 1) * load_int(net.dilations, layer)
        clear(inputs_of(net, utterance, layer, -pad), stride(net.residual), net.residual, pad)
        clear(gates_of(net, utterance, layer, utterance.steps), stride(2 * net.half), 2 * net.half, pad)


@jit
def forward(net, utterance, scratch, part, parts, arrivals, yield_thread):
    """Compute the parameters for every sample of an utterance.

    `parts` threads may share it: each has one chunk of every CHUNK * parts samples, and they synchronise
    before each layer, which reads the other threads' chunks.

    Args:
        net: A `Network`.
        utterance: An `Utterance`.
        scratch: This thread's `Scratch`.
        part: Number of this thread.
        parts: Threads that run this.
        arrivals: Address of a barrier's counter, int64.
        yield_thread: Address of the operating system's function that lets other threads run.
    """
    if part == 0:
        clear_pads(net, utterance)
    for t in range(part * CHUNK, utterance.steps, parts * CHUNK):
        input_convolution(net, utterance, t)
        copy(net.skip_bias, 0, net.skip, CHUNK, utterance.skips + stride(net.skip) * t, stride(net.skip))
        for layer in range(net.layers):
            if parts > 1:
                wait_for_all(arrivals, parts, yield_thread)
            gated_layer(net, utterance, scratch, layer, t)
        head(net, utterance, scratch, t)


@jit
def input_convolution(net, utterance, t):
    """Compute the first layer's inputs from the encoded samples."""
    x, row = inputs_of(net, utterance, 0, t), stride(net.residual)
    copy(net.input_bias, 0, net.residual, CHUNK, x, row)
    for tap in range(net.input_taps):
        past = utterance.encoded + stride(net.encoded) * (t - (net.input_taps - 1 - tap))
        forwards(past, net.encoded, net.input + 4 * tap * net.encoded * net.residual, net.residual, x, row)


@jit
def gated_layer(net, utterance, scratch, layer, t):
    """Compute one layer: write its gates and the next layer's inputs, and add to the skips."""
    residual, half, skip, dilation = net.residual, net.half, net.skip, load_int(net.dilations, layer)
    row, gates_row = stride(residual), stride(2 * half)
    x, gates, gated = inputs_of(net, utterance, layer, t), gates_of(net, utterance, layer, t), scratch.gated
    copy(utterance.fixed + 8 * layer * half, 0, 2 * half, CHUNK, gates, gates_row)
    if net.condition > 0:
        conditions = utterance.conditions + stride(net.condition) * t
        forwards(
            conditions, net.condition, net.conditioned + 8 * layer * net.condition * half, 2 * half, gates, gates_row
        )  # fmt: skip
    for tap in range(net.taps):
        past = x - row * (net.taps - 1 - tap) * dilation
        forwards(
            past, residual, net.dilated + 8 * (layer * net.taps + tap) * residual * half, 2 * half, gates, gates_row
        )  # fmt: skip
    for r in range(CHUNK):
        for i in range(half // LANES):
            _gate(gates + r * gates_row + 8 * LANES * i, gated + r * stride(half) + 4 * LANES * i)
    if layer < net.layers - 1:
        above, bias = inputs_of(net, utterance, layer + 1, t), net.residual_bias + 4 * residual * layer
        for r in range(CHUNK):
            for i in range(0, 4 * residual, 4 * LANES):
                _add(x + r * row + i, bias + i, above + r * row + i)
        forwards(gated, half, net.to_residual + 4 * layer * half * residual, residual, above, row)
    skips = utterance.skips + stride(skip) * t
    forwards(gated, half, net.to_skip + 4 * layer * half * skip, skip, skips, stride(skip))


@jit
def head(net, utterance, scratch, t):
    """Compute the parameters from the sum of skips, and with labels the log-probabilities."""
    skip, width, outputs, row, hidden_row = net.skip, net.hidden, net.outputs, stride(net.skip), stride(net.hidden)
    skips, hidden = utterance.skips + row * t, utterance.hidden + hidden_row * t
    parameters = utterance.parameters + 4 * outputs * t
    rectify(skips, skip)
    copy(net.head_0_bias, 0, width, CHUNK, hidden, hidden_row)
    forwards(skips, skip, net.head_0, width, hidden, hidden_row)
    rectify(hidden, width)
    copy(net.head_1_bias, 0, outputs, CHUNK, parameters, 4 * outputs)
    forwards(hidden, width, net.head_1, outputs, parameters, 4 * outputs)
    if utterance.labels != 0:
        labels, totals, log_prob = utterance.labels + 8 * t, utterance.totals + 4 * t, utterance.log_prob + 4 * t
        log_probabilities(parameters, outputs, labels, scratch.lanes, totals, log_prob)


@jit
def backward(net, utterance, scratch, part, parts, arrivals, yield_thread):
    """Compute the gradients of an utterance, from its end to its beginning; once only, as it overwrites the gates.

    Args:
        net: A `Network`.
        utterance: An `Utterance`, after `forward`.
        scratch: This thread's `Scratch`.
        part: Number of this thread.
        parts: Threads that run this.
        arrivals: Address of a barrier's counter, int64.
        yield_thread: Address of the operating system's function that lets other threads run.
    """
    row = stride(net.residual)
    for t in range(utterance.steps - (parts - part) * CHUNK, -1, -parts * CHUNK):
        head_back(net, utterance, scratch, t)
        clear(scratch.residual_grad, row, net.residual, CHUNK)  # the last layer's residual is not used
        if net.condition > 0:
            conditions = utterance.conditions_grad + stride(net.condition) * t
            clear(conditions, stride(net.condition), net.condition, CHUNK)
        for layer in range(net.layers - 1, -1, -1):
            gates_back(net, utterance, scratch, layer, t)
            if parts > 1:
                wait_for_all(arrivals, parts, yield_thread)
            convolution_back(net, utterance, scratch, layer, t)
        copy(scratch.residual_grad, row, net.residual, CHUNK, utterance.input_grad + row * t, row)
        if parts > 1:
            wait_for_all(arrivals, parts, yield_thread)
        input_convolution_back(net, utterance, scratch, t)


@jit
def head_back(net, utterance, scratch, t):
    """Compute the skips' gradient from the parameters'."""
    skip, width, outputs, row, hidden_row = net.skip, net.hidden, net.outputs, stride(net.skip), stride(net.hidden)
    grad, hidden_grad, skip_grad = scratch.parameters_grad, scratch.hidden_grad, scratch.skip_grad
    if utterance.labels != 0:
        labels, totals, carried = utterance.labels + 8 * t, utterance.totals + 4 * t, utterance.log_prob_grad + 4 * t
        log_probabilities_back(utterance.parameters + 4 * outputs * t, outputs, labels, totals, carried, grad)
    else:
        copy(utterance.parameters_grad + 4 * outputs * t, 4 * outputs, outputs, CHUNK, grad, stride(outputs))
    skips, hidden = utterance.skips + row * t, utterance.hidden + hidden_row * t
    matrix_grad(hidden, width, grad, outputs, scratch.head_1)
    add_all(grad, outputs, scratch.head_1_bias)
    clear(hidden_grad, hidden_row, width, CHUNK)
    forwards(grad, outputs, net.head_1_back, width, hidden_grad, hidden_row)
    pass_where_positive(hidden, hidden_grad, width)
    matrix_grad(skips, skip, hidden_grad, width, scratch.head_0)
    add_all(hidden_grad, width, scratch.head_0_bias)
    clear(skip_grad, row, skip, CHUNK)
    forwards(hidden_grad, width, net.head_0_back, skip, skip_grad, row)
    pass_where_positive(skips, skip_grad, skip)
    add_all(skip_grad, skip, scratch.skip_bias)


@jit
def gates_back(net, utterance, scratch, layer, t):
    """Compute the gated convolution's gradient from the skips' and the layer's output's."""
    residual, half, skip, row, gates_row = net.residual, net.half, net.skip, stride(net.half), stride(2 * net.half)
    gates, gated, grad = gates_of(net, utterance, layer, t), scratch.gated, scratch.gated_grad
    for r in range(CHUNK):
        for i in range(half // LANES):
            _gate_again(gates + r * gates_row + 8 * LANES * i, gated + r * row + 4 * LANES * i)
    clear(grad, row, half, CHUNK)
    if layer < net.layers - 1:
        x_grad, at = scratch.residual_grad, 4 * layer * half * residual
        matrix_grad(gated, half, x_grad, residual, scratch.to_residual + at)
        add_all(x_grad, residual, scratch.residual_bias + 4 * layer * residual)
        forwards(x_grad, residual, net.to_residual_back + at, half, grad, row)
    at = 4 * layer * half * skip
    matrix_grad(gated, half, scratch.skip_grad, skip, scratch.to_skip + at)
    forwards(scratch.skip_grad, skip, net.to_skip_back + at, half, grad, row)
    total = scratch.fixed + 8 * layer * half
    for r in range(CHUNK):
        for i in range(0, 4 * half, 4 * LANES):
            _gate_back(gates + r * gates_row + 2 * i, grad + r * row + i, total + 2 * i)


@jit
def convolution_back(net, utterance, scratch, layer, t):
    """Compute the gradient of the layer's input from the gated convolution's, and add it to its output's."""
    residual, half, dilation = net.residual, net.half, load_int(net.dilations, layer)
    row, gates_row = stride(residual), stride(2 * half)
    x, gates = inputs_of(net, utterance, layer, t), gates_of(net, utterance, layer, t)
    if net.condition > 0:
        at, conditions = 8 * layer * net.condition * half, stride(net.condition) * t
        matrix_grad(utterance.conditions + conditions, net.condition, gates, 2 * half, scratch.conditioned + at)
        out, out_row = utterance.conditions_grad + conditions, stride(net.condition)
        forwards(gates, 2 * half, net.conditioned_back + at, net.condition, out, out_row)
    for tap in range(net.taps):
        delay, at = (net.taps - 1 - tap) * dilation, 8 * (layer * net.taps + tap) * residual * half
        matrix_grad(x - row * delay, residual, gates, 2 * half, scratch.dilated + at)
        later = gates + gates_row * delay
        forwards(later, 2 * half, net.dilated_back + at, residual, scratch.residual_grad, row)


@jit
def input_convolution_back(net, utterance, scratch, t):
    """Compute the encoded samples' gradient from that of the first layer's input."""
    residual, encoded, row, encoded_row = net.residual, net.encoded, stride(net.residual), stride(net.encoded)
    add_all(scratch.residual_grad, residual, scratch.input_bias)
    out = utterance.encoded_grad + encoded_row * t
    clear(out, encoded_row, encoded, CHUNK)
    for tap in range(net.input_taps):
        delay, at = net.input_taps - 1 - tap, 4 * tap * encoded * residual
        past = utterance.encoded + encoded_row * (t - delay)
        matrix_grad(past, encoded, scratch.residual_grad, residual, scratch.input + at)
        later = utterance.input_grad + row * (t + delay)
        forwards(later, residual, net.input_back + at, encoded, out, encoded_row)
