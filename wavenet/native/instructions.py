"""Compilation by numba, and machine instructions that are not available from Python.

Addresses are plain integers, in bytes; an index counts values of the type that is read or written.
"""

import inspect
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from wavenet.native.code_cache import cached

FEATURES: str = cpu_target.target_context.codegen().magic_tuple()[2]  # pyright: ignore  # of the processor that numba compiles for
WIDE = "+avx512f" in FEATURES
HAS_FLOAT16 = "+f16c" in FEATURES or platform.machine().lower() not in ("x86_64", "amd64")  # in hardware
LANES = 16 if WIDE else 8  # floats in a register; narrower processors take two registers
PANEL = 2 * LANES

F64, F32, I8, I16, I32, I64 = (
    ir.DoubleType(),
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
VECTOR = ir.VectorType(F32, LANES)


def jit(function: Callable[..., Any]) -> Any:
    """Compile without the checks that prevent vectorisation of loops; cache the result on disk where possible.

    All of a loop becomes one function: by default, the compiler stops inlining when a tuple of
    arguments gets a few more fields, and a small model then takes twice the time.
    """
    return cached(njit(nogil=True, error_model="numpy", forceinline=True)(function))


def instruction(result: Any, *arguments: Any) -> Callable[..., Any]:
    """Turn a function that emits LLVM instructions, emit(builder, *values), into one for compiled code."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if result is types.void else value

        def typer(context: Any, *args: Any) -> Any:
            return result(*arguments), codegen

        names = ["context", *list(inspect.signature(emit).parameters)[1:]]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typer.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        return intrinsic(typer)

    return decorate


def call_llvm(builder: Any, name: str, result_type: Any, *values: Any) -> Any:
    """Emit a call of one of LLVM's own functions, which returns `result_type`."""
    function = ir.FunctionType(result_type, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)


def pointer(builder: Any, address: Any, value_type: Any, index: Any = 0) -> Any:
    """Emit a pointer to the value number `index` of that type, counted from an address."""
    index = ir.Constant(I64, index) if isinstance(index, int) else index
    return builder.gep(builder.inttoptr(address, value_type.as_pointer()), [index])


def multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    """Emit x * y + z, rounded once where the processor supports it."""
    return call_llvm(b, f"llvm.fmuladd.{'f32' if x.type == F32 else f'v{LANES}f32'}", x.type, x, y, z)


@instruction(types.float32, types.int64, types.int64)
def load(b: Any, address: Any, index: Any) -> Any:
    """Read a float."""
    return b.load(pointer(b, address, F32, index))


@instruction(types.void, types.int64, types.int64, types.float32)
def store(b: Any, address: Any, index: Any, value: Any) -> None:
    """Write a float."""
    b.store(value, pointer(b, address, F32, index))


@instruction(types.float64, types.int64, types.int64)
def load_double(b: Any, address: Any, index: Any) -> Any:
    """Read a 64-bit float."""
    return b.load(pointer(b, address, F64, index))


@instruction(types.void, types.int64, types.int64, types.float64)
def store_double(b: Any, address: Any, index: Any, value: Any) -> None:
    """Write a 64-bit float."""
    b.store(value, pointer(b, address, F64, index))


@instruction(types.int64, types.int64, types.int64)
def load_int(b: Any, address: Any, index: Any) -> Any:
    """Read a 64-bit integer."""
    return b.load(pointer(b, address, I64, index))


@instruction(types.int32, types.float32)
def float_to_ordered_int(b: Any, x: Any) -> Any:
    """Map floats to integers of the same order."""
    bits = b.bitcast(x, I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(I32, 31)), ir.Constant(I32, 0x7FFFFFFF))
    return b.xor(bits, magnitude)


@instruction(types.float32, types.int64)
def ordered_int_to_float(b: Any, number: Any) -> Any:
    """Invert `float_to_ordered_int`."""
    bits = b.trunc(number, I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(I32, 31)), ir.Constant(I32, 0x7FFFFFFF))
    return b.bitcast(b.xor(bits, magnitude), F32)


@instruction(types.int64, types.int64, types.int64)
def atomic_add(b: Any, address: Any, value: Any) -> Any:
    """Add to an integer that threads share, and return its value before."""
    return b.atomic_rmw("add", pointer(b, address, I64), value, "seq_cst")


@instruction(types.int64, types.int64)
def atomic_read(b: Any, address: Any) -> Any:
    """Read an integer that other threads write."""
    return b.load_atomic(pointer(b, address, I64), "acquire", 8)


@instruction(types.void, types.int64)
def call(b: Any, address: Any) -> None:
    """Call a C function without arguments."""
    b.call(b.inttoptr(address, ir.FunctionType(I32, []).as_pointer()), [])
