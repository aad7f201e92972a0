"""Buffers for compiled code: arrays aligned to cache lines, and their addresses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def round_up(count: int, multiple: int) -> int:
    """Round a count up to the next multiple."""
    return -(-count // multiple) * multiple


def stride(count: int) -> int:
    """Return the floats from one row to the next; large rows get an extra cache line, to avoid cache conflicts."""
    return count + 16 if count >= 128 else count


def zeros(*shape: int) -> Array:
    """Return an aligned array of float32 zeros."""
    return aligned(np.zeros(shape, np.float32))


def aligned(array: Array) -> Array:
    """Return a contiguous copy that begins at a multiple of 64 bytes, a cache line."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[...] = array
    return aligned


def address(array: Array) -> int:
    """Return the address of an array's first value; the caller must keep the array alive."""
    return array.ctypes.data
