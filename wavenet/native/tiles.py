"""Matrix products in compiled code: tiles whose sums stay in registers.

A matrix is stored in panels of PANEL outputs, [panel][input][PANEL]: the lanes of a register are
neighbouring outputs.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wavenet.native.elementwise import in_all_lanes
from wavenet.native.instructions import (
    F32,
    I8,
    I16,
    I32,
    I64,
    LANES,
    PANEL,
    VECTOR,
    WIDE,
    call_llvm,
    instruction,
    jit,
    multiply_add,
    pointer,
)

ROWS = 8 if WIDE else 6  # utterances or steps in the largest tile, limited by the registers
PANELS = 2 if WIDE else 4  # panels of a tile for a single row: enough sums to hide an addition's latency
TILE_ROWS = 8 if WIDE else 4  # rows of a full tile; PANEL is a multiple of it
DEPTH = 128  # inputs that a tile processes at once, so that its weights stay in the first-level cache


def _vector_of_weights(b: Any, dtype: Any, address: Any, index: int) -> Any:
    """Emit LANES weights as float32, from any type of storage."""
    if dtype == types.float32:
        return b.load(pointer(b, address, VECTOR, index), align=4 * LANES)
    stored = I8 if dtype == types.int8 else I16
    raw = b.load(pointer(b, address, ir.VectorType(stored, LANES), index), align=LANES)
    if dtype == types.int8:
        return b.sitofp(b.sext(raw, ir.VectorType(I32, LANES)), VECTOR)
    if dtype == types.int16:  # float16
        return b.fpext(b.bitcast(raw, ir.VectorType(ir.HalfType(), LANES)), VECTOR)
    wide = b.zext(raw, ir.VectorType(I32, LANES))  # bfloat16: the upper half of a float32
    return b.bitcast(b.shl(wide, ir.Constant(wide.type, [16] * LANES)), VECTOR)


def _make_tile(rows: int, panels: int) -> Any:
    """Build the innermost loop: out[r, p] += sum over k of weights[p, k] * x[r, k].

    All the sums stay in registers: `rows * panels * 2` of them.
    """
    outputs = [(p, v) for p in range(panels) for v in range(2)]  # a panel is two registers wide

    @intrinsic
    def tile(context, weights, start, size, depth, scales, x, x_stride, out, out_stride, ahead):
        dtype = weights.dtype
        signature = types.void(weights, *[types.int64] * 9)

        def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
            array, start, size, depth, scales, x, x_stride, out, out_stride, ahead = values
            data = b.ptrtoint(context.make_array(signature.args[0])(context, b, array).data, I64)
            width = dtype.bitwidth // 8
            number = lambda n: ir.Constant(I64, n)  # noqa: E731

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
            k = b.phi(I64)
            k.add_incoming(number(0), entry)
            sums = [[b.phi(VECTOR) for _ in outputs] for _ in range(rows)]
            vectors = [_vector_of_weights(b, dtype, weights_at(p, k), v) for p, v in outputs]
            if rows >= 4:  # prefetch what the next tiles need
                place = pointer(b, b.add(data, b.mul(ahead, number(width))), I8, b.mul(k, number(64)))
                call_llvm(b, "llvm.prefetch.p0", ir.VoidType(), place, *(ir.Constant(I32, i) for i in (0, 3, 1)))
            following = b.add(k, number(1))
            k.add_incoming(following, loop)
            for r in range(rows):
                value = b.load(pointer(b, b.add(x, b.mul(number(r), x_stride)), F32, k))
                everywhere = in_all_lanes(b, value)
                for i, vector in enumerate(vectors):
                    total = multiply_add(b, vector, everywhere, sums[r][i])
                    sums[r][i].add_incoming(zero if dtype == types.int8 else before[r][i], entry)
                    sums[r][i].add_incoming(total, loop)
                    sums[r][i] = total
            b.cbranch(b.icmp_signed("<", following, depth), loop, after)

            b.position_at_end(after)
            for r in range(rows):
                for i, (p, v) in enumerate(outputs):
                    total = sums[r][i]
                    if dtype == types.int8:
                        scale = b.load(pointer(b, scales, VECTOR, 2 * p + v), align=4)
                        total = multiply_add(b, total, scale, before[r][i])
                    b.store(total, places[r][i], align=4)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile_rows, _tile_4, _tile_3, _tile_2, _tile_1 = (_make_tile(rows, 1) for rows in (ROWS, 4, 3, 2, 1))
_tile_panels = _make_tile(1, PANELS)


@instruction(types.void, *[types.int64] * 8)
def add_tile(
    b: Any, x: Any, x_row: Any, x_step: Any, matrix: Any, matrix_step: Any, depth: Any, out: Any, out_row: Any
) -> None:
    """out[r, n] += sum over k of x[r, k] * matrix[k, n], for TILE_ROWS rows and a panel; all sums stay in registers."""
    number = lambda n: ir.Constant(ir.IntType(64), n)  # noqa: E731
    places = [
        [pointer(b, b.add(out, b.mul(number(r), out_row)), VECTOR, v) for v in range(2)] for r in range(TILE_ROWS)
    ]
    before = [[b.load(place, align=4) for place in row] for row in places]
    entry, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("sums")
    b.branch(loop)

    b.position_at_end(loop)
    k, x_at, matrix_at = b.phi(x.type), b.phi(x.type), b.phi(x.type)
    sums = [[b.phi(VECTOR) for _ in range(2)] for _ in range(TILE_ROWS)]
    vectors = [b.load(pointer(b, matrix_at, VECTOR, v), align=4) for v in range(2)]
    totals = []
    for r in range(TILE_ROWS):
        value = b.load(pointer(b, b.add(x_at, b.mul(number(r), x_row)), ir.FloatType()))
        everywhere = in_all_lanes(b, value)
        totals.append([multiply_add(b, vector, everywhere, sums[r][v]) for v, vector in enumerate(vectors)])
    following = [(k, number(0), b.add(k, number(1))), (x_at, x, b.add(x_at, x_step))]
    following.append((matrix_at, matrix, b.add(matrix_at, matrix_step)))
    for r in range(TILE_ROWS):
        following += [(sums[r][v], before[r][v], totals[r][v]) for v in range(2)]
    for phi, first, then in following:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)
    b.cbranch(b.icmp_signed("<", following[0][2], depth), loop, after)

    b.position_at_end(after)
    for r in range(TILE_ROWS):
        for v in range(2):
            b.store(totals[r][v], places[r][v], align=4)


@jit
def product(weights, start, depth, first, last, scales, x, x_stride, rows, out, out_stride):
    """Matrix times vectors: out[r, n] += sum over k of W[n, k] * x[r, k], for whole panels of outputs n.

    Args:
        weights: The matrices, see `run` in `wavenet/generation/cpu_kernels.py`.
        start: Offset of the matrix.
        depth: Number of its inputs.
        first: The first panel of outputs that is computed.
        last: The panel after the last one.
        scales: Address of the scales of the matrix's outputs.
        x: Address of the first row.
        x_stride: Bytes from one row to the next.
        rows: Number of rows.
        out: Address of the first row of outputs.
        out_stride: Bytes from one row of outputs to the next.
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
            following, half = v + n * PANEL, n * LANES  # each tile prefetches half of the next weights
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
