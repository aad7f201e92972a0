"""The lock of a run's folder: one process, with those that it starts, trains a run at a time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Hold a run's folder while it is trained.

    The folder itself is locked, so nothing is written, and the system releases the lock when the process ends, however
    it ends. Where folders cannot be locked, as on Windows and most NFS mounts, nothing is held.

    Args:
        run: The folder, which exists.

    Raises:
        ValueError: If another process holds it; names it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - not on Windows

    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{run} is being trained by {_holder(folder)}; wait for its end or stop it, or start a new run"
            ) from error
        except OSError:
            pass  # this file system has no such locks
        yield
    finally:
        os.close(folder)


def _holder(folder: int) -> str:
    """Return the process that holds the lock of an open folder, as far as the system tells."""
    inode = f":{os.fstat(folder).st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():  # on Linux
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(inode) and int(fields[4]) > 0:
                return f"process {fields[4]}"
    return "another process"
