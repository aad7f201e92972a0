"""Compiled code on disk, in the user's cache: none is left in the package's folder when the package is removed.

numba's own setting of the folder, `numba.config.CACHE_DIR`, is one for all packages; here only this package's functions
get another one.
"""

import functools
import hashlib
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import config as numba_config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserWideCacheLocator

config: Any = numba_config  # its names are set at run time
_SOURCES = sorted([*Path(__file__).parent.glob("*.py"), *Path(__file__).parents[1].glob("*/cpu_kernels.py")])
DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()
_USER_CACHES = {"win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches")}  # variable, or in home


def cached(compiled: Any) -> Any:
    """Return a function that numba compiled, which now reads its compiled code from the disk, and writes it there.

    If the folder cannot be written, a warning says so, and the function is compiled in each process.
    """
    if config.DISABLE_JIT:  # it is the Python function
        return compiled
    try:
        compiled._cache = _Cache(compiled.py_func)
    except RuntimeError as error:
        _warn_once(str(error).rstrip("."))
    return compiled


@functools.cache
def _warn_once(reason: str) -> None:
    message = f"native code is compiled again in each process: {reason}"
    warnings.warn(f"{message}; set NUMBA_CACHE_DIR to a folder that can be written", stacklevel=3)


def cache_folder() -> Path:
    """Return the folder of compiled code: NUMBA_CACHE_DIR, or else `wavenet` in the user's cache.

    Each folder of source files has one there, so that installations of several versions do not share any.

    Raises:
        RuntimeError: If the user's home folder is not known.
    """
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR)
    variable, usual = _USER_CACHES.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    given = Path(os.environ.get(variable, ""))
    return (given if given.is_absolute() else Path.home() / usual) / "wavenet"


class _Locator(UserWideCacheLocator):
    """Finds a function's folder."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(cache_folder() / self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        locator = super().from_function(py_func, py_file)
        if locator is None:
            raise RuntimeError(f"{cache_folder()} cannot be written")
        return locator


class _Files(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 - as numba has it


class _Cache(FunctionCache):
    """The compiled code of a function.

    It comes from several files, but numba checks only one of them for changes; so a digest of all of them is added to
    what it compares.
    """

    _impl_class = _Files

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._cache_file._source_stamp = (self._cache_file._source_stamp, DIGEST)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code unless the disk is full: it is needed by later processes only."""
        with suppress(OSError):
            super().save_overload(sig, data)
