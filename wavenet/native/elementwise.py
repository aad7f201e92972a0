"""Elementwise functions of compiled code: exponentials, the gate, copies."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from wavenet.native.instructions import (
    F32,
    I32,
    LANES,
    VECTOR,
    instruction,
    jit,
    load,
    multiply_add,
    pointer,
    store,
)

_LN2 = math.log(2)
_LN2_HIGH = 355 / 512  # exact in few bits, so that n * _LN2_HIGH is exact
_ROUND = 3 * 2**22 + 127  # adding it leaves the nearest integer, plus 127, in the lowest bits
LOWEST = np.float32(-87)  # exp of less is not a normal float32
_TAYLOR = [1 / math.factorial(i) for i in range(6, 1, -1)] + [1.0, 1.0]
_FLAT = 9.1  # tanh is 1 in float32 from here on
_SHUT = 40.0  # sigmoid is practically 0 or 1 from here on


def constant(like: Any, value: float) -> Any:
    """Emit a constant, in each lane if `like` is a vector."""
    value = float(np.float32(value))
    return ir.Constant(like.type, [value] * LANES if like.type == VECTOR else value)


def in_all_lanes(b: Any, value: Any) -> Any:
    """Emit a vector that holds a float in every lane."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = b.insert_element(undefined, value, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def clamp(b: Any, x: Any, lowest: float, highest: float) -> Any:
    """Emit x clamped between two numbers; nan stays nan."""
    low, high = constant(x, lowest), constant(x, highest)
    x = b.select(b.fcmp_ordered("<", x, low), low, x)
    return b.select(b.fcmp_ordered(">", x, high), high, x)


def emit_exponential(b: Any, x: Any) -> Any:
    """Emit exp(x), -87 <= x <= 87, with a relative error below 2.5e-7; for a float or a vector.

    exp(x) = 2**n * exp(r), n the nearest integer to x / ln 2; exp(r) is a Taylor series.
    """
    shifted = multiply_add(b, x, constant(x, 1 / _LN2), constant(x, _ROUND))
    n = b.fsub(shifted, constant(x, _ROUND))
    r = multiply_add(b, n, constant(x, -_LN2_HIGH), x)
    r = multiply_add(b, n, constant(x, _LN2_HIGH - _LN2), r)
    series = constant(x, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        series = multiply_add(b, series, r, constant(x, coefficient))
    bits = I32 if x.type == F32 else ir.VectorType(I32, LANES)
    places = ir.Constant(bits, 23 if x.type == F32 else [23] * LANES)
    return b.fmul(series, b.bitcast(b.shl(b.bitcast(shifted, bits), places), x.type))


@instruction(types.float32, types.float32)
def exponential(b: Any, x: Any) -> Any:
    """Compute exp(x), see `emit_exponential`."""
    return emit_exponential(b, x)


def gate_exponentials(b: Any, sums: Any) -> tuple[Any, Any, Any]:
    """Emit 1, exp(-2 filter) and exp(-gate) for the panel of sums at an address."""
    filters, gates = (b.load(pointer(b, sums, VECTOR, i), align=4) for i in range(2))
    one, zero = constant(filters, 1), constant(filters, 0)
    filters = b.fmul(clamp(b, filters, -_FLAT, _FLAT), constant(filters, -2))
    gates = b.fsub(zero, clamp(b, gates, -_SHUT, _SHUT))
    return one, emit_exponential(b, filters), emit_exponential(b, gates)


@instruction(types.void, types.int64, types.int64)
def gate(b: Any, sums: Any, out: Any) -> None:
    """Compute tanh(filter) * sigmoid(gate) of a panel, within 3e-7: addresses of its sums and of LANES outputs.

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
    """Replace `count` floats by max(x, 0), in place."""
    for i in range(count):
        store(address, i, max(load(address, i), np.float32(0)))


@jit
def scale(address, count, factor):
    """Multiply `count` floats by a factor, in place."""
    for i in range(count):
        store(address, i, factor * load(address, i))
