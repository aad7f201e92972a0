"""The C library's memory allocator."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of mallopt(3)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next step instead of returning them to the system.

    By default it maps and unmaps every large activation in every step, and the system clears the
    pages again each time, which large training steps on a CPU feel. The price: a process keeps its
    peak memory until it ends.

    Returns:
        Whether there was a glibc to tell.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
