"""Settings of the process in the operating system and the C library."""

import ctypes
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of mallopt(3)
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_FIRST = "WAVENET_FIRST_PROCESS"  # environment variable: the id of the process that starts the others


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks for the next step instead of returning them to the system.

    By default it maps and unmaps every large activation in every step, and the system clears the
    pages again each time, which slows down large training steps on a CPU. In return, a process keeps its
    peak memory until it ends.

    Returns:
        Whether the process uses glibc, and it took the settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


@contextmanager
def flush_denormal_numbers() -> Iterator[None]:
    """Compute with zeros in place of numbers below 1.2e-38, in this thread and those that it starts meanwhile.

    Averages of gradients that stay zero, such as those of a unit that is never active, fall to such denormal numbers,
    and products with them take a processor many times as long. Afterwards torch's default applies again.
    """
    torch.set_flush_denormal(True)  # returns False on a processor that cannot
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def kill_with_parent() -> None:
    """Make Linux kill this process when the process that started it ends.

    Call it in every process, first in the one that starts the others. Otherwise a process that waits for
    the others to join would wait half an hour for dead ones; on other systems than Linux it still does.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_FIRST] = str(os.getpid())
    elif _FIRST in os.environ and platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[_FIRST]):  # it has ended already
            os.kill(os.getpid(), signal.SIGKILL)
