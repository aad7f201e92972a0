"""Threads that work side by side: kept for the next call, with a barrier for compiled code.

Real threads with an atomic counter, because parts of one step meet far more often than a thread pool's
queue could bear.
"""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


class Workers:
    """Threads for work whose parts wait for each other, and so must run at the same time; kept for the next call."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, work: Callable[[int], object], count: int) -> None:
        """Call work(0) ... work(count - 1), a single one here, and several on a thread each."""
        if count == 1:
            work(0)
            return
        if self._pool is None or self._size < count:
            self._size = count
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="wavenet")
        for future in [self._pool.submit(work, number) for number in range(count)]:
            future.result()


@cache
def yield_address() -> int:
    """Address of the system's function that offers a thread's core to others."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
