"""Worker threads for native code, which are kept between calls and synchronise by a barrier (see `barrier`).

They wait on an atomic counter, because the parts of one step synchronise far more often than the queue of a
thread pool could handle.
"""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


class Workers:
    """Threads for parts of work that wait for each other, so all must run at the same time; kept between calls."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, work: Callable[[int], object], count: int) -> None:
        """Call work(0) ... work(count - 1): a single one in the calling thread, several in one thread each."""
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
    """Return the address of the system's function that yields a thread's core to other threads."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
