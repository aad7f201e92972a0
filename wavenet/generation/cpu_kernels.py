"""The CPU backend's loop, compiled to machine code by numba when it is first used.

Two things limit the speed. One utterance is limited by reading its weights, 3 to 6 MB per sample, so
they are stored in the order in which a step reads them, and each is read as rarely as possible. Many
utterances are limited by arithmetic, so a tile of them shares each weight that is loaded.

**One order of sums.** Every output is bias + condition + taps from the oldest to the newest, each a
running sum over its inputs in one register. Tiles only choose which outputs are computed together.
So the audio is the same, to the bit, for every batch, number of threads and chunk length.

**Panels.** A matrix is stored in panels of PANEL outputs, [panel][input][PANEL]: a register's lanes
are neighbouring outputs. A panel of a gated convolution is LANES filter rows and the LANES gate
rows of the same channels, so one thread can compute a whole panel.

**Looking ahead.** The inputs of a tap with delay d are known for the next d steps. Its products for
a window of up to `block` steps are computed at once, and the weights are read once for all of them.

Addresses are plain integers, in bytes; array offsets count elements.
"""

from typing import NamedTuple

import numpy as np

from wavenet.native.barrier import wait_for_all
from wavenet.native.draw import CATEGORICAL, draw, draw_from_mixture
from wavenet.native.elementwise import copy, gate, rectify, scale
from wavenet.native.instructions import LANES, PANEL, jit, load, load_int, store
from wavenet.native.tiles import product

FRAMES = 8  # frames of a condition that are projected at once, so that the weights are read once for all of them


class Workspace(NamedTuple):
    """Memory of one thread for B utterances: addresses of float32 rows, unless stated otherwise.

    A stride is the bytes from one row to the next. Threads that share the utterances share `gated` and
    everything after it.

    Attributes:
        batch: B.
        steps: T.
        block: Steps that are computed ahead at most, a power of two.
        inputs: The network's next inputs, (B, encoded).
        input_ring: Past inputs of the input convolution, (input_taps, B, encoded).
        rings: Past inputs of each layer, (past_taps * dilation + block, B, rows), one after the other.
        starts: Bytes to each layer's ring, int64.
        hidden: Sums of the gated convolutions, (layers, hidden_block, B, gates).
        fixed: Their initial values: bias and condition, (layers, ring, B, gates).
        probabilities: Buffer for drawing, (classes,); for mixtures float64 (3, mixtures).
        gated: Outputs of all gates, (B, layers * half).
        skips: (B, skips).
        head: (B, hiddens).
        logits: (B, outputs).
        conditions: (frames, B, condition).
        uniforms: (B, 1, T); for mixtures (B, 2, T), a uniform number and a standard variate.
        audio: Output, (B, T).
        arrivals: The barrier's counter, int64, 0 at the beginning.
        forced: Inputs of the network, (T, B, encoded), instead of its own samples; 0 to draw samples.
        parameters: Output if `forced` is given, (T, B, classes).
        frames: Values of the condition.
        hop: Steps that each of them covers.
        offset: Steps of the first one that are already over.
        ring: Frames in `fixed`: a few times FRAMES, and FRAMES more than a block has; or 1 if there is one frame.
        hidden_block: block; or 0 if that is 1, and the layers can use the same memory.
        row_stride: Stride of `rings`.
        gate_stride: Stride of `hidden` and `fixed`.
        gated_stride: Stride of `gated`.
        skip_stride: Stride of `skips`.
        head_stride: Stride of `head`.
        output_stride: Stride of `logits`.
    """

    batch: int
    steps: int
    block: int
    inputs: int
    input_ring: int
    rings: int
    starts: int
    hidden: int
    fixed: int
    probabilities: int
    gated: int
    skips: int
    head: int
    logits: int
    conditions: int
    uniforms: int
    audio: int
    arrivals: int
    forced: int
    parameters: int
    frames: int
    hop: int
    offset: int
    ring: int
    hidden_block: int
    row_stride: int
    gate_stride: int
    gated_stride: int
    skip_stride: int
    head_stride: int
    output_stride: int


@jit
def prepare(weights, net, work, first, last, t, prepared):
    """At the beginning of a block, compute its sums' initial values; return the number of frames that are done."""
    if t % work.block > 0:
        return prepared
    last_frame = (work.offset + min(t + work.block, work.steps) - 1) // work.hop
    while prepared <= last_frame:
        count = min(FRAMES - prepared % FRAMES, work.frames - prepared)
        for layer in range(net.layers):
            begin(weights, net, work, first, last, layer, prepared, count)
        prepared += count
    return prepared


@jit
def begin(weights, net, work, first, last, layer, frame, count):
    """Compute the initial values of a layer's sums in some frames: the bias and the condition."""
    at, floats, batch = 4 * first * PANEL, (last - first) * PANEL, work.batch
    rows = 4 * (net.rows + layer * (net.gates + net.rows))
    fixed = work.fixed + (layer * work.ring + frame % work.ring) * batch * work.gate_stride
    for row in range(count * batch):
        copy(net.biases + rows + at, fixed + row * work.gate_stride + at, floats)
    if net.condition > 0:
        product(
            weights, layer * net.ahead_size, net.condition, first, last, net.scales + rows,
            work.conditions + 4 * frame * batch * net.condition, 4 * net.condition, count * batch,
            fixed, work.gate_stride,
        )  # fmt: skip


@jit
def input_convolution(weights, net, work, t):
    """Compute the input convolution: from the encoded sample to the first layer's input."""
    batch, taps = work.batch, net.input_taps
    stride, tap_size = 4 * batch * net.encoded, net.rows * net.encoded
    inputs = work.inputs if work.forced == 0 else work.forced + t * stride
    copy(inputs, work.input_ring + (t + taps - 1) % taps * stride, batch * net.encoded)
    x = input_of(net, work, 0, t)
    for b in range(batch):
        copy(net.biases, x + b * work.row_stride, net.rows)
    for tap in range(taps):
        product(
            weights, net.input_0 + tap * tap_size, net.encoded, 0, net.rows // PANEL, net.scales,
            work.input_ring + (t + tap) % taps * stride, 4 * net.encoded, batch, x, work.row_stride,
        )  # fmt: skip


@jit
def input_of(net, work, layer, t):
    """Return the address of a layer's input at time t, (B, rows)."""
    past = net.past_taps * load_int(net.dilations, layer)
    slot = (t + past) % (past + work.block)
    return work.rings + load_int(work.starts, layer) + slot * work.batch * work.row_stride


@jit
def look_ahead(weights, net, work, first, last, layer, t):
    """Initialise the next steps' sums, and add the products of the past taps whose windows begin now."""
    batch, block, dilation = work.batch, work.block, load_int(net.dilations, layer)
    step = t % block
    ahead = min(block - step, work.steps - t)
    scales = net.scales + 4 * (net.rows + layer * (net.gates + net.rows))
    start = layer * net.ahead_size
    hidden = work.hidden + (layer * work.hidden_block + step) * batch * work.gate_stride
    if step == 0:
        at, floats = 4 * first * PANEL, (last - first) * PANEL
        for i in range(ahead):
            frame = (work.offset + t + i) // work.hop % work.ring
            fixed = work.fixed + (layer * work.ring + frame) * batch * work.gate_stride
            for b in range(batch):
                row = i * batch + b
                copy(fixed + b * work.gate_stride + at, hidden + row * work.gate_stride + at, floats)
    start += net.gates * net.condition
    slots = net.past_taps * dilation + block
    ring = work.rings + load_int(work.starts, layer)
    for tap in range(net.past_taps):
        window = min(block, load_int(net.windows, layer * net.past_taps + tap))
        if step % window == 0:
            count = min(window, ahead)
            slot = (t + tap * dilation) % slots  # slot t is the oldest input that step t uses
            until_end = min(count, slots - slot)
            tap_start = start + tap * net.gates * net.residual
            product(
                weights, tap_start, net.residual, first, last, scales,
                ring + slot * batch * work.row_stride, work.row_stride, until_end * batch, hidden, work.gate_stride,
            )  # fmt: skip
            if until_end < count:
                product(
                    weights, tap_start, net.residual, first, last, scales, ring, work.row_stride,
                    (count - until_end) * batch, hidden + until_end * batch * work.gate_stride, work.gate_stride,
                )  # fmt: skip


@jit
def gated_layer(weights, net, work, first, last, layer, t):
    """Finish the sums of step t with the present tap, and apply the gate."""
    batch = work.batch
    scales = net.scales + 4 * (net.rows + layer * (net.gates + net.rows))
    start = net.layer_0 + layer * net.layer_size
    hidden = work.hidden + (layer * work.hidden_block + t % work.block) * batch * work.gate_stride
    product(
        weights, start, net.residual, first, last, scales,
        input_of(net, work, layer, t), work.row_stride, batch, hidden, work.gate_stride,
    )  # fmt: skip
    for b in range(batch):
        for panel in range(first, last):
            out = b * work.gated_stride + 4 * (layer * net.half + panel * LANES)
            gate(hidden + b * work.gate_stride + 4 * panel * PANEL, work.gated + out)


@jit
def residual(weights, net, work, layer, t):
    """Write the next layer's input: this layer's plus the residual product of the gates, times the residual scale."""
    x, out = input_of(net, work, layer, t), input_of(net, work, layer + 1, t)
    rows = net.rows + layer * (net.gates + net.rows) + net.gates
    for b in range(work.batch):
        for i in range(net.rows):
            store(out + b * work.row_stride, i, load(x + b * work.row_stride, i) + load(net.biases, rows + i))
    start = net.layer_0 + layer * net.layer_size + net.gates * net.residual
    product(
        weights, start, net.half, 0, net.rows // PANEL, net.scales + 4 * rows,
        work.gated + 4 * layer * net.half, work.gated_stride, work.batch, out, work.row_stride,
    )  # fmt: skip
    if net.residual_scale != 1:
        for b in range(work.batch):
            scale(out + b * work.row_stride, net.rows, np.float32(net.residual_scale))


@jit
def dense(weights, start, depth, first, last, biases, scales, x, x_stride, batch, out, out_stride, rectified):
    """Compute a dense layer: out = W x + b, and max(out, 0) if `rectified`. Addresses and strides as in `product`."""
    at, count = 4 * first * PANEL, (last - first) * PANEL
    for b in range(batch):
        copy(biases + at, out + b * out_stride + at, count)
    product(weights, start, depth, first, last, scales, x, x_stride, batch, out, out_stride)
    if rectified:
        for b in range(batch):
            rectify(out + b * out_stride + at, count)


@jit
def run(weights, net, work, temperature, top_k, part, parts, yield_thread):
    """Generate one sample after the other for all utterances of a workspace.

    `parts` threads may share the utterances: each computes its share of the panels. Only the outputs
    of the gates are exchanged, so they synchronise once per layer: each computes the whole of the
    small residual product, into rings of its own, and all of them draw the same samples.

    Args:
        weights: The matrices, 64-byte aligned: float32, or int16, uint16 or int8, which represent
            float16, bfloat16 and 8-bit integers.
        net: A `Network`.
        work: A `Workspace` of this thread; it holds the state before the run and after it.
        temperature: See `draw`.
        top_k: See `draw`.
        part: Index of this thread.
        parts: Number of threads that run this.
        yield_thread: Address of the operating system's function that lets other threads run.
    """
    first, last = net.gates // PANEL * part // parts, net.gates // PANEL * (part + 1) // parts
    skip_0, skip_1 = net.skips // PANEL * part // parts, net.skips // PANEL * (part + 1) // parts
    hidden_0, hidden_1 = net.hiddens // PANEL * part // parts, net.hiddens // PANEL * (part + 1) // parts
    out_0, out_1 = net.outputs // PANEL * part // parts, net.outputs // PANEL * (part + 1) // parts
    batch, layers = work.batch, net.layers
    rows = 4 * (net.rows + layers * (net.gates + net.rows))
    biases, scales = net.biases + rows, net.scales + rows
    hidden, output = 4 * net.skips, 4 * (net.skips + net.hiddens)
    prepared = 0
    for t in range(work.steps):
        prepared = prepare(weights, net, work, first, last, t, prepared)
        input_convolution(weights, net, work, t)
        for layer in range(layers):
            look_ahead(weights, net, work, first, last, layer, t)
            gated_layer(weights, net, work, first, last, layer, t)
            if parts > 1:
                wait_for_all(work.arrivals, parts, yield_thread)
            if layer < layers - 1:
                residual(weights, net, work, layer, t)
        dense(
            weights, net.skip_0, layers * net.half, skip_0, skip_1, biases, scales,
            work.gated, work.gated_stride, batch, work.skips, work.skip_stride, True,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, yield_thread)
        dense(
            weights, net.head_0, net.skip, hidden_0, hidden_1, biases + hidden, scales + hidden,
            work.skips, work.skip_stride, batch, work.head, work.head_stride, True,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, yield_thread)
        dense(
            weights, net.head_1, net.hidden, out_0, out_1, biases + output, scales + output,
            work.head, work.head_stride, batch, work.logits, work.output_stride, False,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, yield_thread)
        for b in range(batch):
            at = work.logits + b * work.output_stride
            if work.forced != 0:
                copy(at, work.parameters + 4 * (t * batch + b) * net.classes, net.classes)
                continue
            if net.kind == CATEGORICAL:
                uniform = load(work.uniforms, b * work.steps + t)
                drawn = draw(at, net.classes, uniform, temperature, top_k, work.probabilities)
            else:
                uniform = load(work.uniforms, 2 * b * work.steps + t)
                variate = load(work.uniforms, (2 * b + 1) * work.steps + t)
                drawn = draw_from_mixture(net.kind, net.mixture, at, uniform, variate, temperature, work.probabilities)
            copy(net.embedding + 4 * drawn * net.encoded, work.inputs + 4 * b * net.encoded, net.encoded)
            if part == 0:
                store(work.audio, b * work.steps + t, load(net.levels, drawn))
