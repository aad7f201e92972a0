"""Memory that compiled code works on: rows that begin at cache lines, and their addresses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def round_up(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def stride(count: int) -> int:
    """Floats from a row to the next; a cache line more than a power of two, whose rows would collide in the cache."""
    return count + 16 if count >= 128 else count


def zeros(*shape: int) -> Array:
    """Of float32, aligned."""
    return aligned(np.zeros(shape, np.float32))


def aligned(array: Array) -> Array:
    """A copy, in order, that begins at a multiple of 64 bytes, a cache line."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[...] = array
    return aligned


def address(array: Array) -> int:
    """Of an array's first value, bytes; whoever uses it keeps the array."""
    return array.ctypes.data
