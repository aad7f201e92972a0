"""The lock of a run's folder: one process, with those that it starts, trains a run at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from wavenet.atomic_files import check_no_links, write_text

_LOCK, _HOLDER = ".lock", ".holder"


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Hold a run's folder while it is trained.

    The system releases the lock when the process ends, however it ends; the next one takes it over. On file systems
    without locks, such as NFS without its lock service, it may not hold between machines.

    Args:
        run: The folder, which exists.

    Raises:
        ValueError: If another process holds it; names it.
        OSError: If the lock cannot be written.
    """
    check_no_links(run, [run / _LOCK, run / _HOLDER])
    lock = FileLock(run / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"{run} is being trained by {_holder(run)}; wait for its end or stop it, or start a new run"
        ) from error
    try:
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        write_text(run / _HOLDER, f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
        yield
    finally:
        with suppress(OSError):
            (run / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(run: Path) -> str:
    try:
        return (run / _HOLDER).read_text(encoding="utf-8", errors="replace")[:200].strip() or "another process"
    except OSError:
        return "another process"
