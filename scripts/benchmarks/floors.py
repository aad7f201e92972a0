"""The machine's limits: its bandwidth of reading memory, and its rate of multiply-add operations."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from wavenet.native.instructions import LANES, VECTOR, WIDE, instruction, jit, multiply_add, pointer

_READERS = 16  # registers that the loop reads into
_CHAINS = 24 if WIDE else 12  # independent sums: enough to keep the multipliers busy
_SECONDS = 0.15


def _loop(b: Any, count: Any, values: list[Any], step: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit a loop that runs `count` times over vectors in registers."""
    entry, body, after = b.block, b.append_basic_block("body"), b.append_basic_block("after")
    b.branch(body)
    b.position_at_end(body)
    i = b.phi(count.type)
    carried = [b.phi(VECTOR) for _ in values]
    following = b.add(i, ir.Constant(count.type, 1))
    results = step(i, carried)
    for phi, before, now in zip(
        [i, *carried], [ir.Constant(count.type, 0), *values], [following, *results], strict=True
    ):
        phi.add_incoming(before, entry)
        phi.add_incoming(now, body)
    b.cbranch(b.icmp_signed("<", following, count), body, after)
    b.position_at_end(after)
    return results


def _store_sum(b: Any, values: list[Any], out: Any) -> None:
    total = values[0]
    for value in values[1:]:
        total = b.fadd(total, value)
    b.store(total, pointer(b, out, VECTOR), align=4)


@instruction(types.void, types.int64, types.int64, types.int64)
def _read(b: Any, address: Any, blocks: Any, out: Any) -> None:
    """Emit code that sums blocks of _READERS vectors."""

    def step(i: Any, sums: list[Any]) -> list[Any]:
        first = b.mul(i, ir.Constant(i.type, _READERS))
        places = [pointer(b, address, VECTOR, b.add(first, ir.Constant(i.type, j))) for j in range(_READERS)]
        return [b.fadd(total, b.load(place, align=4 * LANES)) for total, place in zip(sums, places, strict=True)]

    _store_sum(b, _loop(b, blocks, [ir.Constant(VECTOR, [0.0] * LANES)] * _READERS, step), out)


@instruction(types.void, types.int64, types.int64)
def _multiply(b: Any, count: Any, out: Any) -> None:
    """Emit code that adds a product to each of _CHAINS registers, `count` times."""
    starts = [b.load(pointer(b, out, VECTOR, i), align=4) for i in range(2)]

    def step(_: Any, values: list[Any]) -> list[Any]:
        return [multiply_add(b, starts[0], starts[1], x) for x in values]

    _store_sum(b, _loop(b, count, [starts[i % 2] for i in range(_CHAINS)], step), out)


@jit
def _read_often(address, blocks, repeats, out):  # noqa: ANN001, ANN202
    for _ in range(repeats):
        _read(address, blocks, out)


@jit
def _multiply_often(count, repeats, out):  # noqa: ANN001, ANN202
    for _ in range(repeats):
        _multiply(count, out)


@cache
def _memory(size: int, thread: int) -> Any:
    """Return an array of ones of `size` bytes, aligned to a cache line; each thread has its own."""
    del thread
    memory = np.ones(size // 4 + 32, np.float32)
    return memory[-memory.ctypes.data % 128 // 4 :]


def _rate(work: Callable[[int, int], None], amount: float, threads: int) -> float:
    """Return the work per second and thread, with all threads at once; work(thread, n) does n times `amount`."""
    work(0, 1)  # compiles
    repeats = 1
    while True:
        began = time.perf_counter()
        if threads == 1:
            work(0, repeats)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, range(threads), [repeats] * threads))
        seconds = time.perf_counter() - began
        if seconds > _SECONDS / 2:
            return amount * repeats / seconds
        repeats = max(repeats + 1, int(repeats * min(100.0, _SECONDS / max(seconds, 1e-6))))


def read_bandwidth(size: int, threads: int = 1) -> float:
    """Return the bytes per second that each thread reads when it repeatedly reads its own block of memory.

    Args:
        size: Size of a thread's block in bytes, which determines the cache level that holds it.
        threads: Number of threads that read at the same time.
    """
    block = 4 * LANES * _READERS
    blocks = max(1, size // block)

    def work(thread: int, repeats: int) -> None:
        out = np.zeros(LANES, np.float32)
        _read_often(_memory(blocks * block, thread).ctypes.data, blocks, repeats, out.ctypes.data)

    return _rate(work, blocks * block, threads)


def multiply_add_rate(threads: int = 1) -> float:
    """Return the float32 multiply-add operations per second of each thread, with all threads at once."""
    count = 10_000

    def work(thread: int, repeats: int) -> None:
        del thread
        out = np.full(2 * LANES, 1e-3, np.float32)
        _multiply_often(count, repeats, out.ctypes.data)

    return _rate(work, count * _CHAINS * LANES, threads)
