"""The CPU backend's loop, compiled to machine code by numba when it is first used.

Two things decide the speed. One utterance waits for its weights, 3 to 6 MB a sample, so they lie in
memory in the order in which a step reads them, and each is read as seldom as can be. Many utterances
wait for arithmetic, so a tile of them shares each weight that is loaded.

**One order of sums.** Every output is bias + condition + taps from the oldest to the newest, each a
running sum over its inputs in one register. Tiles only choose which outputs are computed side by
side. So the audio is the same, to the bit, for every batch, number of threads and chunk length.

**Panels.** A matrix is stored in panels of PANEL outputs, [panel][input][PANEL]: a register's lanes
are neighbouring outputs. A panel of a gated convolution is LANES filter rows and the LANES gate
rows of the same channels, so a thread that has a panel can finish it.

**Looking ahead.** What a tap with delay d will hear in the next d steps is known already. Its
products for a window of up to `block` steps are taken at once, and the weights are read once for
all of them.

Addresses are plain integers, in bytes; array offsets count elements.
"""

import inspect
import math
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

FEATURES: str = cpu_target.target_context.codegen().magic_tuple()[2]  # pyright: ignore  # of the processor that numba compiles for
WIDE = "+avx512f" in FEATURES
HAS_FLOAT16 = "+f16c" in FEATURES or platform.machine().lower() not in ("x86_64", "amd64")  # in hardware
LANES = 16 if WIDE else 8  # floats in a register; narrower processors take two registers
PANEL = 2 * LANES
ROWS = 8 if WIDE else 6  # utterances or steps in the largest tile: as many as there are registers for
PANELS = 2 if WIDE else 4  # panels of a tile for a single row: enough sums to hide an addition's latency
DEPTH = 128  # inputs that a tile takes at once, so that its weights stay in the first-level cache
CATEGORICAL, LOGISTIC, GAUSSIAN = 0, 1, 2  # what can be drawn from
FRAMES = 8  # frames of a condition that are projected at once: the weights are read once for all of them
SPINS = 4000  # polls of a barrier before the core is offered to others

_F64, _F32, _I8, _I16, _I32, _I64 = (
    ir.DoubleType(),
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
VECTOR = ir.VectorType(_F32, LANES)


class Network(NamedTuple):
    """A packed model. "Rounded" is up to whole panels.

    The matrices lie in one array, one after the other: for each layer the condition and the past
    taps, the oldest first; the input's taps; for each layer the present tap and the residual (but
    for the last layer); the skips of all layers as one matrix; the head's two.

    Attributes:
        biases: Address of a float32 for each output: input; for each layer gate, residual; skip;
            the head's two. All rounded.
        scales: Address of what 8-bit weights of an output are multiplied with; laid out like biases.
        embedding: Address of what the network hears of each sample that can be drawn, float32 (N, encoded).
        levels: Address of these samples' waveform, float32 (N,).
        dilations: Address of each layer's dilation, int64.
        windows: Address of how many steps each past tap is computed ahead, int64 (layers, past_taps):
            a power of two, so that a later tap's windows lie within an earlier one's.
        layers: Number of layers.
        past_taps: kernel_size - 1.
        input_taps: Taps of the input convolution.
        encoded: Channels that the network hears.
        condition: Condition channels, or 0.
        residual: Residual channels.
        half: Channels of filter and of gate, rounded to LANES.
        skip: Skip channels.
        classes: Parameter channels of the output: for a categorical its classes.
        rows: residual, rounded.
        gates: Outputs of a gated convolution, 2 * half.
        heads: skip, rounded.
        outputs: classes, rounded.
        ahead_size: From a layer's condition and past taps to the next layer's.
        input_0: Offset of the input convolution.
        layer_0: Offset of the first layer's present tap.
        layer_size: From a layer's present tap to the next layer's.
        skip_0: Offset of the skip matrix.
        head_0: Offset of the head's first matrix.
        head_1: Offset of its second.
        kind: What is drawn from: CATEGORICAL, LOGISTIC or GAUSSIAN.
        mixture: Address of what a mixture needs; see `draw_from_mixture`.
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
    heads: int
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


class Workspace(NamedTuple):
    """Memory of one thread for B utterances: addresses of float32 rows, unless said otherwise.

    A stride is the bytes from a row to the next. Threads that share the utterances have `gated` and
    all that follows it in common.

    Attributes:
        batch: B.
        steps: T.
        block: Steps that are looked ahead at most, a power of two.
        heard: What the network hears next, (B, encoded).
        input_ring: Past inputs of the input convolution, (input_taps, B, encoded).
        rings: Past inputs of each layer, (past_taps * dilation + block, B, rows), one after the other.
        starts: Bytes to each layer's ring, int64.
        hidden: Sums of the gated convolutions, (layers, hidden_block, B, gates).
        fixed: What they begin with: bias and condition, (layers, ring, B, gates).
        chances: Room to draw in, (classes,); for mixtures float64 (3, mixtures).
        gated: Outputs of all gates, (B, layers * half).
        skips: (B, heads).
        head: (B, heads).
        logits: (B, outputs).
        conditions: (frames, B, condition).
        uniforms: (B, 1, T); for mixtures (B, 2, T), a uniform number and a standard variate.
        audio: (B, T) is written.
        arrivals: The barrier's counter, int64, 0 at the beginning.
        forced: What the network hears, (T, B, encoded), instead of its own samples; 0 to let it draw.
        parameters: (T, B, classes) is written if `forced` is given.
        frames: Values of the condition.
        hop: Steps that each of them holds for.
        offset: Steps of the first one that lie in the past.
        ring: Frames in `fixed`: a few times FRAMES, and FRAMES more than a block has; or 1 if there is one frame.
        hidden_block: block; or 0 if that is 1, and the layers can use the same memory.
        row_stride: Of `rings`.
        gate_stride: Of `hidden` and `fixed`.
        gated_stride: Of `gated`.
        head_stride: Of `skips` and `head`.
        output_stride: Of `logits`.
    """

    batch: int
    steps: int
    block: int
    heard: int
    input_ring: int
    rings: int
    starts: int
    hidden: int
    fixed: int
    chances: int
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
    head_stride: int
    output_stride: int


def jit(function: Callable[..., Any]) -> Any:
    """Compile without the checks that keep loops from becoming vector code; keep the result on disk if one can.

    All of a loop becomes one function: left to itself, the compiler stops inlining where a `Network`
    or a `Workspace` gets a few fields more, and a small model then takes twice the time.
    """
    options = {"nogil": True, "error_model": "numpy", "forceinline": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder that can be written to
        return njit(**options)(function)


# ---- what Python has no words for: a few machine instructions -----------------------------------


def instruction(result: Any, *arguments: Any) -> Callable[..., Any]:
    """Make a function for compiled code of one that emits LLVM instructions: emit(builder, *values)."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if result is types.void else value

        def typer(context: Any, *given: Any) -> Any:
            return result(*arguments), codegen

        names = ["context", *list(inspect.signature(emit).parameters)[1:]]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typer.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        return intrinsic(typer)

    return decorate


def call_llvm(builder: Any, name: str, kind: Any, *values: Any) -> Any:
    """Emit a call of one of LLVM's own functions, which return `kind`."""
    function = ir.FunctionType(kind, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)


def pointer(builder: Any, address: Any, kind: Any, index: Any = 0) -> Any:
    """Emit the place of the value number `index` of that kind, counted from an address."""
    index = ir.Constant(_I64, index) if isinstance(index, int) else index
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    """Multiply x by y and add z, rounding once where the processor can."""
    return call_llvm(b, f"llvm.fmuladd.{'f32' if x.type == _F32 else f'v{LANES}f32'}", x.type, x, y, z)


@instruction(types.float32, types.int64, types.int64)
def load(b: Any, address: Any, index: Any) -> Any:
    """Read a float."""
    return b.load(pointer(b, address, _F32, index))


@instruction(types.void, types.int64, types.int64, types.float32)
def store(b: Any, address: Any, index: Any, value: Any) -> None:
    """Write a float."""
    b.store(value, pointer(b, address, _F32, index))


@instruction(types.float64, types.int64, types.int64)
def load_double(b: Any, address: Any, index: Any) -> Any:
    """Read a float of 64 bits."""
    return b.load(pointer(b, address, _F64, index))


@instruction(types.void, types.int64, types.int64, types.float64)
def store_double(b: Any, address: Any, index: Any, value: Any) -> None:
    """Write a float of 64 bits."""
    b.store(value, pointer(b, address, _F64, index))


@instruction(types.int64, types.int64, types.int64)
def load_int(b: Any, address: Any, index: Any) -> Any:
    """Read a whole number of 64 bits."""
    return b.load(pointer(b, address, _I64, index))


@instruction(types.int32, types.float32)
def in_order(b: Any, x: Any) -> Any:
    """A whole number for each float, in the same order."""
    bits = b.bitcast(x, _I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(_I32, 31)), ir.Constant(_I32, 0x7FFFFFFF))
    return b.xor(bits, magnitude)


@instruction(types.float32, types.int64)
def out_of_order(b: Any, number: Any) -> Any:
    """The float that `in_order` makes the number of."""
    bits = b.trunc(number, _I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(_I32, 31)), ir.Constant(_I32, 0x7FFFFFFF))
    return b.bitcast(b.xor(bits, magnitude), _F32)


@instruction(types.int64, types.int64, types.int64)
def atomic_add(b: Any, address: Any, value: Any) -> Any:
    """Add to a number that other threads see; adding 0 reads it."""
    return b.atomic_rmw("add", pointer(b, address, _I64), value, "seq_cst")


@instruction(types.int64, types.int64)
def atomic_read(b: Any, address: Any) -> Any:
    """Read a number that other threads write."""
    return b.load_atomic(pointer(b, address, _I64), "acquire", 8)


@instruction(types.void, types.int64)
def call(b: Any, address: Any) -> None:
    """Call a C function without arguments."""
    b.call(b.inttoptr(address, ir.FunctionType(_I32, []).as_pointer()), [])


def _vector_of_weights(b: Any, kind: Any, address: Any, index: int) -> Any:
    """LANES weights as float32, whatever they are stored as."""
    if kind == types.float32:
        return b.load(pointer(b, address, VECTOR, index), align=4 * LANES)
    stored = _I8 if kind == types.int8 else _I16
    raw = b.load(pointer(b, address, ir.VectorType(stored, LANES), index), align=LANES)
    if kind == types.int8:
        return b.sitofp(b.sext(raw, ir.VectorType(_I32, LANES)), VECTOR)
    if kind == types.int16:  # float16
        return b.fpext(b.bitcast(raw, ir.VectorType(ir.HalfType(), LANES)), VECTOR)
    wide = b.zext(raw, ir.VectorType(_I32, LANES))  # bfloat16: the upper half of a float32
    return b.bitcast(b.shl(wide, ir.Constant(wide.type, [16] * LANES)), VECTOR)


def _make_tile(rows: int, panels: int) -> Any:
    """Make the innermost loop: out[r, p] += sum over k of weights[p, k] * x[r, k].

    All the sums stay in registers; `rows * panels * 2` of them.
    """
    outputs = [(p, v) for p in range(panels) for v in range(2)]  # a panel is two registers wide

    @intrinsic
    def tile(context, weights, start, size, depth, scales, x, x_stride, out, out_stride, ahead):
        kind = weights.dtype
        signature = types.void(weights, *[types.int64] * 9)

        def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
            array, start, size, depth, scales, x, x_stride, out, out_stride, ahead = values
            data = b.ptrtoint(context.make_array(signature.args[0])(context, b, array).data, _I64)
            width = kind.bitwidth // 8
            number = lambda n: ir.Constant(_I64, n)  # noqa: E731

            def weights_at(panel: int, k: Any) -> Any:
                element = b.add(b.add(start, b.mul(number(panel), size)), b.mul(k, number(PANEL)))
                return b.add(data, b.mul(element, number(width)))

            places = [
                [pointer(b, b.add(out, b.mul(number(r), out_stride)), VECTOR, 2 * p + v) for p, v in outputs]
                for r in range(rows)
            ]
            before = [[b.load(place, align=4) for place in row] for row in places]
            zero = ir.Constant(VECTOR, [0.0] * LANES)
            entry, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("sums")
            b.branch(loop)

            b.position_at_end(loop)
            k = b.phi(_I64)
            k.add_incoming(number(0), entry)
            sums = [[b.phi(VECTOR) for _ in outputs] for _ in range(rows)]
            vectors = [_vector_of_weights(b, kind, weights_at(p, k), v) for p, v in outputs]
            if rows >= 4:  # fetch what the next tiles need, while this one is busy
                place = pointer(b, b.add(data, b.mul(ahead, number(width))), _I8, b.mul(k, number(64)))
                call_llvm(b, "llvm.prefetch.p0", ir.VoidType(), place, *(ir.Constant(_I32, i) for i in (0, 3, 1)))
            following = b.add(k, number(1))
            k.add_incoming(following, loop)
            for r in range(rows):
                value = b.load(pointer(b, b.add(x, b.mul(number(r), x_stride)), _F32, k))
                everywhere = b.shuffle_vector(
                    b.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(_I32, 0)),
                    ir.Constant(VECTOR, ir.Undefined),
                    ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES),
                )
                for i, vector in enumerate(vectors):
                    total = multiply_add(b, vector, everywhere, sums[r][i])
                    sums[r][i].add_incoming(zero if kind == types.int8 else before[r][i], entry)
                    sums[r][i].add_incoming(total, loop)
                    sums[r][i] = total
            b.cbranch(b.icmp_signed("<", following, depth), loop, after)

            b.position_at_end(after)
            for r in range(rows):
                for i, (p, v) in enumerate(outputs):
                    total = sums[r][i]
                    if kind == types.int8:
                        scale = b.load(pointer(b, scales, VECTOR, 2 * p + v), align=4)
                        total = multiply_add(b, total, scale, before[r][i])
                    b.store(total, places[r][i], align=4)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile_rows, _tile_4, _tile_3, _tile_2, _tile_1 = (_make_tile(rows, 1) for rows in (ROWS, 4, 3, 2, 1))
_tile_panels = _make_tile(1, PANELS)


@jit
def product(weights, start, depth, first, last, scales, x, x_stride, rows, out, out_stride):
    """Matrix times vectors: out[r, n] += sum over k of W[n, k] * x[r, k], for whole panels of outputs n.

    Args:
        weights: See `run`.
        start: Where the matrix begins.
        depth: Its inputs.
        first: The first panel of outputs that is computed.
        last: The panel after the last one.
        scales: Address of the scales of the matrix's outputs.
        x: Address of the first row.
        x_stride: Bytes from a row to the next.
        rows: Rows.
        out: Address of the first row of outputs.
        out_stride: Bytes from a row of outputs to the next.
    """
    size = depth * PANEL
    panel = first
    if rows == 1:
        while panel + PANELS <= last:
            w, s, o = start + panel * size, scales + 4 * panel * PANEL, out + 4 * panel * PANEL
            for k in range(0, depth, DEPTH):
                _tile_panels(weights, w + k * PANEL, size, min(DEPTH, depth - k), s, x + 4 * k, 0, o, 0, 0)
            panel += PANELS
    while panel < last:
        w, s, o = start + panel * size, scales + 4 * panel * PANEL, out + 4 * panel * PANEL
        for k in range(0, depth, DEPTH):
            v, n, y = w + k * PANEL, min(DEPTH, depth - k), x + 4 * k
            following, half = v + n * PANEL, n * LANES  # each tile fetches half of what comes next
            row = 0
            while row + ROWS <= rows:
                r, q, f = y + row * x_stride, o + row * out_stride, following + row // ROWS % 2 * half
                _tile_rows(weights, v, size, n, s, r, x_stride, q, out_stride, f)
                row += ROWS
            if row + 4 <= rows:
                r, q = y + row * x_stride, o + row * out_stride
                _tile_4(weights, v, size, n, s, r, x_stride, q, out_stride, following + row // 4 % 2 * half)
                row += 4
            r, q = y + row * x_stride, o + row * out_stride
            if rows - row == 3:
                _tile_3(weights, v, size, n, s, r, x_stride, q, out_stride, 0)
            elif rows - row == 2:
                _tile_2(weights, v, size, n, s, r, x_stride, q, out_stride, 0)
            elif rows - row == 1:
                _tile_1(weights, v, size, n, s, r, x_stride, q, out_stride, 0)
        panel += 1


# ---- elementwise functions ----------------------------------------------------------------------

_LN2 = math.log(2)
_LN2_HIGH = 355 / 512  # exact in few bits, so that n * _LN2_HIGH is exact
_ROUND = 3 * 2**22 + 127  # adding it leaves a whole number, plus 127, in the lowest bits
_LOWEST = np.float32(-87)  # exp of less is no normal float32
_TAYLOR = [1 / math.factorial(i) for i in range(6, 1, -1)] + [1.0, 1.0]
_FLAT = 9.1  # tanh is 1 in float32 from here on
_SHUT = 40.0  # sigmoid is as good as 0 or 1


def constant(like: Any, value: float) -> Any:
    """Emit a number, for each lane if `like` is a vector."""
    value = float(np.float32(value))
    return ir.Constant(like.type, [value] * LANES if like.type == VECTOR else value)


def clamp(b: Any, x: Any, lowest: float, highest: float) -> Any:
    """Emit x, held between two numbers; what is not a number stays that."""
    low, high = constant(x, lowest), constant(x, highest)
    x = b.select(b.fcmp_ordered("<", x, low), low, x)
    return b.select(b.fcmp_ordered(">", x, high), high, x)


def emit_exponential(b: Any, x: Any) -> Any:
    """exp(x), -87 <= x <= 87, within 2.5e-7 of its value; for a float or a vector.

    exp(x) = 2**n * exp(r), n the nearest whole number to x / ln 2; a Taylor series makes exp(r).
    """
    shifted = multiply_add(b, x, constant(x, 1 / _LN2), constant(x, _ROUND))
    n = b.fsub(shifted, constant(x, _ROUND))
    r = multiply_add(b, n, constant(x, -_LN2_HIGH), x)
    r = multiply_add(b, n, constant(x, _LN2_HIGH - _LN2), r)
    series = constant(x, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        series = multiply_add(b, series, r, constant(x, coefficient))
    bits = _I32 if x.type == _F32 else ir.VectorType(_I32, LANES)
    places = ir.Constant(bits, 23 if x.type == _F32 else [23] * LANES)
    return b.fmul(series, b.bitcast(b.shl(b.bitcast(shifted, bits), places), x.type))


@instruction(types.float32, types.float32)
def exponential(b: Any, x: Any) -> Any:
    """See `emit_exponential`."""
    return emit_exponential(b, x)


def gate_exponentials(b: Any, sums: Any) -> tuple[Any, Any, Any]:
    """Emit 1, exp(-2 filter) and exp(-gate) of the panel of sums at an address."""
    filters, gates = (b.load(pointer(b, sums, VECTOR, i), align=4) for i in range(2))
    one, zero = constant(filters, 1), constant(filters, 0)
    filters = b.fmul(clamp(b, filters, -_FLAT, _FLAT), constant(filters, -2))
    gates = b.fsub(zero, clamp(b, gates, -_SHUT, _SHUT))
    return one, emit_exponential(b, filters), emit_exponential(b, gates)


@instruction(types.void, types.int64, types.int64)
def gate(b: Any, sums: Any, out: Any) -> None:
    """tanh(filter) * sigmoid(gate) of a panel, within 3e-7: addresses of its sums and of LANES outputs.

    With a = exp(-2 filter) and b = exp(-gate) it is (1 - a) / ((1 + a) * (1 + b)): one division.
    """
    one, a, c = gate_exponentials(b, sums)
    b.store(b.fdiv(b.fsub(one, a), b.fmul(b.fadd(one, a), b.fadd(one, c))), pointer(b, out, VECTOR), align=4)


@jit
def copy(source, target, count):
    """Copy floats between addresses."""
    for i in range(count):
        store(target, i, load(source, i))


@jit
def rectify(address, count):
    """max(x, 0) of `count` floats in place."""
    for i in range(count):
        store(address, i, max(load(address, i), np.float32(0)))


@jit
def draw(logits, classes, uniform, temperature, top_k, chances):
    """Draw a class by inverting the cumulative distribution; the same as `MuLawCategorical.sample`.

    Args:
        logits: Address of the unnormalised log-probabilities.
        classes: How many.
        uniform: In [0, 1).
        temperature: 0 takes the likeliest class.
        top_k: Draw among so many; 0 for all.
        chances: Address of room for `classes` floats.
    """
    best = 0
    for i in range(1, classes):
        if load(logits, i) > load(logits, best):
            best = i
    if temperature == 0:
        return best
    highest = load(logits, best)
    limit = _kth_largest(logits, classes, top_k) if 0 < top_k < classes else np.float32(-np.inf)
    for i in range(classes):
        x = load(logits, i)
        exponent = (x - highest) / temperature
        p = exponential(max(exponent, _LOWEST))
        store(chances, i, p if x >= limit and exponent >= _LOWEST else np.float32(0))

    # Sums of sixteen classes each do not wait for each other.
    total = np.float32(0)
    for i in range(0, classes, 16):
        total += _sum(chances, i, min(i + 16, classes))
    wanted = uniform * total
    below = np.float32(0)
    for i in range(0, classes, 16):
        following = below + _sum(chances, i, min(i + 16, classes))
        if following > wanted:
            part = np.float32(0)
            for j in range(i, min(i + 16, classes)):
                part += load(chances, j)
                if below + part > wanted:
                    return j
        below = following
    return best


@jit
def _sum(address, first, last):
    total = np.float32(0)
    for i in range(first, last):
        total += load(address, i)
    return total


@jit
def _kth_largest(x, count, k):
    """The k-th largest of `count` floats, found bit by bit: as whole numbers, floats are in order too."""
    limit = np.int64(-(2**31))
    for bit in range(31, -1, -1):
        higher = limit + (np.int64(1) << bit)
        at_least = 0
        for i in range(count):
            at_least += in_order(load(x, i)) >= higher
        if at_least >= k:
            limit = higher
    return out_of_order(limit)


# ---- drawing from a mixture, in float64: it is little work --------------------------------------


@jit
def draw_from_mixture(kind, settings, parameters, uniform, variate, temperature, room):
    """Draw the number of a level; the same as `Mixture.sample`.

    Args:
        kind: LOGISTIC or GAUSSIAN.
        settings: Address of float64: the number of components, the levels below 0, log_scale_min, the
            highest log-scale, the steps to a mode at most, and how short the last of them is.
        parameters: Address of log-weights, means and raw log-scales.
        uniform: In [0, 1), chooses the component.
        variate: Of the standard component, see `Mixture.standard_variates`.
        temperature: 0 takes the mode.
        room: Address of float64 (3, components).
    """
    count, half = int(load_double(settings, 0)), load_double(settings, 1)
    lowest, highest = load_double(settings, 2), load_double(settings, 3)
    means = parameters + 4 * count if count > 1 else parameters  # a single component has no weight
    scales, heights, chances = room, room + 8 * count, room + 16 * count
    top = -np.inf
    for k in range(count):
        above = load(means, count + k) - lowest
        log_scale = min(lowest + max(above, 0.0) + math.log1p(math.exp(-abs(above))), highest)
        height = (np.float64(load(parameters, k)) if count > 1 else 0.0) - log_scale
        store_double(scales, k, log_scale)
        store_double(heights, k, height)
        top = max(top, height)
    if temperature == 0:
        for k in range(count):
            store_double(scales, k, math.exp(load_double(scales, k)))
        return _nearest_level(_mode(kind, settings, means, scales, heights, chances), half)

    largest = -np.inf  # of the weights' logarithms: subtracted, so that none overflows
    for k in range(count):
        weight = (load_double(heights, k) - top) / temperature + load_double(scales, k)
        store_double(chances, k, weight)
        largest = max(largest, weight)
    total = 0.0
    for k in range(count):
        total += math.exp(load_double(chances, k) - largest)
        store_double(chances, k, total)
    chosen = 0
    while chosen < count - 1 and load_double(chances, chosen) <= uniform * total:
        chosen += 1
    scale = math.exp(load_double(scales, chosen)) * math.sqrt(temperature)
    return _nearest_level(load(means, chosen) + scale * variate, half)


@jit
def _nearest_level(sample, half):
    """Number of the level; what is not a number counts as the lowest, for it becomes a place in a table."""
    scaled = sample * half
    if not scaled > -half:
        return 0
    return int(min(np.rint(scaled), half - 1)) + int(half)


@jit
def _mode(kind, settings, means, scales, heights, room):
    """Where the density is highest: see `Mixture._mode`. Addresses of float64, but for the means."""
    count, climbs, arrived = int(load_double(settings, 0)), int(load_double(settings, 4)), load_double(settings, 5)
    best, best_density = 0.0, -np.inf
    for start in range(count):
        x = np.float64(load(means, start))
        for _ in range(climbs):
            before = x
            _, x = _climb(kind, count, x, means, scales, heights, room)
            if abs(x - before) <= arrived:
                break
        density, _ = _climb(kind, count, x, means, scales, heights, room)
        if density > best_density or start == 0:
            best, best_density = x, density
    return best


@jit
def _climb(kind, count, x, means, scales, heights, room):
    """Log-density of the mixture at x, but for a constant, and a place where it is higher."""
    highest = -np.inf
    for k in range(count):
        z = abs(x - load(means, k)) / load_double(scales, k)
        exponent = load_double(heights, k) - (0.5 * z * z if kind == GAUSSIAN else z)
        store_double(room, k, exponent)
        highest = max(highest, exponent)
    density, pulls, pulled = 0.0, 0.0, 0.0
    for k in range(count):
        mean, scale = load(means, k), load_double(scales, k)
        part, pull = math.exp(load_double(room, k) - highest), 1.0
        if kind == LOGISTIC:  # exp(-z) / (1 + exp(-z))**2, and tanh(z / 2) / z
            z = abs(x - mean) / scale
            e = math.exp(-z)
            part /= (1 + e) * (1 + e)
            pull = 0.5 - z * z / 24 if z < 1e-4 else (1 - e) / ((1 + e) * z)
        pull *= part / (scale * scale)
        density += part
        pulls += pull
        pulled += pull * mean
    return highest + math.log(density), pulled / pulls


# ---- the loop -----------------------------------------------------------------------------------


@jit
def wait_for_all(arrivals, parts, offer):
    """A barrier: returns when all `parts` threads are here."""
    wanted = (atomic_add(arrivals, 1) // parts + 1) * parts
    polls = 0
    while atomic_read(arrivals) < wanted:
        polls += 1
        if polls % SPINS == 0:
            call(offer)


@jit
def prepare(weights, net, work, first, last, t, prepared):
    """At the beginning of a block, lay down what its sums begin with; returns how many frames are done."""
    if t % work.block > 0:
        return prepared
    wanted = (work.offset + min(t + work.block, work.steps) - 1) // work.hop
    while prepared <= wanted:
        count = min(FRAMES - prepared % FRAMES, work.frames - prepared)
        for layer in range(net.layers):
            begin(weights, net, work, first, last, layer, prepared, count)
        prepared += count
    return prepared


@jit
def begin(weights, net, work, first, last, layer, frame, count):
    """What a layer's sums begin with in some frames: the bias and the condition."""
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
def hear(weights, net, work, t):
    """The input convolution: from the encoded sample to the first layer's input."""
    batch, taps = work.batch, net.input_taps
    stride, tap_size = 4 * batch * net.encoded, net.rows * net.encoded
    heard = work.heard if work.forced == 0 else work.forced + t * stride
    copy(heard, work.input_ring + (t + taps - 1) % taps * stride, batch * net.encoded)
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
    """Address of a layer's input at time t, (B, rows)."""
    past = net.past_taps * load_int(net.dilations, layer)
    slot = (t + past) % (past + work.block)
    return work.rings + load_int(work.starts, layer) + slot * work.batch * work.row_stride


@jit
def look_ahead(weights, net, work, first, last, layer, t):
    """Begin the next steps' sums, and add what past taps bring to them, where it is due now."""
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
            slot = (t + tap * dilation) % slots  # slot t is the oldest input that step t hears
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
    """Finish the sums of step t with the present tap, and take the gate."""
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
    """Write the next layer's input: this layer's, plus what the gates make of it."""
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


@jit
def dense(weights, start, depth, first, last, biases, scales, x, x_stride, batch, out, out_stride, rectified):
    """A whole layer: out = W x + b, and max(out, 0) if `rectified`. Addresses and strides as in `product`."""
    at, count = 4 * first * PANEL, (last - first) * PANEL
    for b in range(batch):
        copy(biases + at, out + b * out_stride + at, count)
    product(weights, start, depth, first, last, scales, x, x_stride, batch, out, out_stride)
    if rectified:
        for b in range(batch):
            rectify(out + b * out_stride + at, count)


@jit
def run(weights, net, work, temperature, top_k, part, parts, offer):
    """Generate one sample after the other for all utterances of a workspace.

    `parts` threads may share the utterances: each computes its share of the panels. Only the outputs
    of the gates are exchanged, so they meet once in a layer: each takes the small residual product
    as a whole, into rings of its own, and all of them draw the same samples.

    Args:
        weights: The matrices, 64-byte aligned: float32, or int16, uint16 or int8, which stand for
            float16, bfloat16 and 8-bit integers.
        net: A `Network`.
        work: A `Workspace` of this thread; it holds the state before and after the run.
        temperature: See `draw`.
        top_k: See `draw`.
        part: Number of this thread.
        parts: Threads that run this.
        offer: Address of the operating system's function that lets other threads run.
    """
    first, last = net.gates // PANEL * part // parts, net.gates // PANEL * (part + 1) // parts
    skip_0, skip_1 = net.heads // PANEL * part // parts, net.heads // PANEL * (part + 1) // parts
    out_0, out_1 = net.outputs // PANEL * part // parts, net.outputs // PANEL * (part + 1) // parts
    batch, layers = work.batch, net.layers
    rows = 4 * (net.rows + layers * (net.gates + net.rows))
    biases, scales = net.biases + rows, net.scales + rows
    head = 4 * net.heads
    prepared = 0
    for t in range(work.steps):
        prepared = prepare(weights, net, work, first, last, t, prepared)
        hear(weights, net, work, t)
        for layer in range(layers):
            look_ahead(weights, net, work, first, last, layer, t)
            gated_layer(weights, net, work, first, last, layer, t)
            if parts > 1:
                wait_for_all(work.arrivals, parts, offer)
            if layer < layers - 1:
                residual(weights, net, work, layer, t)
        dense(
            weights, net.skip_0, layers * net.half, skip_0, skip_1, biases, scales,
            work.gated, work.gated_stride, batch, work.skips, work.head_stride, True,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, offer)
        dense(
            weights, net.head_0, net.skip, skip_0, skip_1, biases + head, scales + head,
            work.skips, work.head_stride, batch, work.head, work.head_stride, True,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, offer)
        dense(
            weights, net.head_1, net.skip, out_0, out_1, biases + 2 * head, scales + 2 * head,
            work.head, work.head_stride, batch, work.logits, work.output_stride, False,
        )  # fmt: skip
        if parts > 1:
            wait_for_all(work.arrivals, parts, offer)
        for b in range(batch):
            at = work.logits + b * work.output_stride
            if work.forced != 0:
                copy(at, work.parameters + 4 * (t * batch + b) * net.classes, net.classes)
                continue
            if net.kind == CATEGORICAL:
                uniform = load(work.uniforms, b * work.steps + t)
                drawn = draw(at, net.classes, uniform, temperature, top_k, work.chances)
            else:
                uniform = load(work.uniforms, 2 * b * work.steps + t)
                variate = load(work.uniforms, (2 * b + 1) * work.steps + t)
                drawn = draw_from_mixture(net.kind, net.mixture, at, uniform, variate, temperature, work.chances)
            copy(net.embedding + 4 * drawn * net.encoded, work.heard + 4 * b * net.encoded, net.encoded)
            if part == 0:
                store(work.audio, b * work.steps + t, load(net.levels, drawn))
