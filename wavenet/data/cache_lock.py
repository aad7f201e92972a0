"""The lock of a folder of the cache."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from wavenet.atomic_files import link_error

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. A folder in which nothing can be written is not locked: it may be complete.

    Raises:
        OSError: If the lock file is a link, which is not followed, or cannot be opened for another reason.
    """
    if _can_write(folder / ".lock"):
        with FileLock(folder / ".lock"):
            yield
    else:
        yield


def _can_write(lock: Path) -> bool:
    """Create the lock file; `FileLock` would follow a link, and truncate what it points to."""
    if lock.is_symlink():
        raise link_error(lock)
    try:
        os.close(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666))
    except OSError as error:
        if error.errno in _READ_ONLY:
            return False
        raise
    return True
