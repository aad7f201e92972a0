"""Functions compiled by numba, and the machine instructions that Python has no words for.

Addresses are plain integers, in bytes; an index counts values of the kind that is read or written.
"""

import hashlib
import inspect
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

F64, F32, I8, I16, I32, I64 = (
    ir.DoubleType(),
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
VECTOR = ir.VectorType(F32, LANES)
_SOURCES = sorted([*Path(__file__).parent.glob("*.py"), *Path(__file__).parents[1].glob("*/cpu_kernels.py")])
_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()


def jit(function: Callable[..., Any]) -> Any:
    """Compile without the checks that keep loops from becoming vector code; keep the result on disk if one can.

    All of a loop becomes one function: left to itself, the compiler stops inlining where a tuple of
    arguments gets a few fields more, and a small model then takes twice the time.

    What is kept holds code of several files, and numba looks at one of them only; so all of them are a
    part of what it compares.
    """
    options = {"nogil": True, "error_model": "numpy", "forceinline": True}
    try:
        compiled: Any = njit(cache=True, **options)(function)
        index = compiled._cache._cache_file
        index._source_stamp = (index._source_stamp, _DIGEST)
    except (RuntimeError, AttributeError):  # there is no folder that can be written to; or numba has another cache
        return njit(**options)(function)
    return compiled


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
    index = ir.Constant(I64, index) if isinstance(index, int) else index
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    """Multiply x by y and add z, rounding once where the processor can."""
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
    """Read a float of 64 bits."""
    return b.load(pointer(b, address, F64, index))


@instruction(types.void, types.int64, types.int64, types.float64)
def store_double(b: Any, address: Any, index: Any, value: Any) -> None:
    """Write a float of 64 bits."""
    b.store(value, pointer(b, address, F64, index))


@instruction(types.int64, types.int64, types.int64)
def load_int(b: Any, address: Any, index: Any) -> Any:
    """Read a whole number of 64 bits."""
    return b.load(pointer(b, address, I64, index))


@instruction(types.int32, types.float32)
def in_order(b: Any, x: Any) -> Any:
    """A whole number for each float, in the same order."""
    bits = b.bitcast(x, I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(I32, 31)), ir.Constant(I32, 0x7FFFFFFF))
    return b.xor(bits, magnitude)


@instruction(types.float32, types.int64)
def out_of_order(b: Any, number: Any) -> Any:
    """The float that `in_order` makes the number of."""
    bits = b.trunc(number, I32)
    magnitude = b.and_(b.ashr(bits, ir.Constant(I32, 31)), ir.Constant(I32, 0x7FFFFFFF))
    return b.bitcast(b.xor(bits, magnitude), F32)


@instruction(types.int64, types.int64, types.int64)
def atomic_add(b: Any, address: Any, value: Any) -> Any:
    """Add to a number that other threads see; adding 0 reads it."""
    return b.atomic_rmw("add", pointer(b, address, I64), value, "seq_cst")


@instruction(types.int64, types.int64)
def atomic_read(b: Any, address: Any) -> Any:
    """Read a number that other threads write."""
    return b.load_atomic(pointer(b, address, I64), "acquire", 8)


@instruction(types.void, types.int64)
def call(b: Any, address: Any) -> None:
    """Call a C function without arguments."""
    b.call(b.inttoptr(address, ir.FunctionType(I32, []).as_pointer()), [])
