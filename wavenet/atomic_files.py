"""Files that appear whole or not at all, whatever happens while they are written."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path, make_folder: bool = True) -> Iterator[Path]:
    """Write a file beside its place, and put it there when it is finished and on the disk.

    Whoever looks at `path` meanwhile, or after a kill or a power cut, finds what stood there before.

    Args:
        path: The file.
        make_folder: Whether to make missing folders. If not, a mount that has vanished is an error, and
            not a folder on the wrong disk.

    Yields:
        The file to write instead; it is there, empty, in the same folder, hidden.

    Raises:
        OSError: If it cannot be written; it names `path`, which is as it was, and nothing is left beside it.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=_PARTIAL)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk may say so only here
        beside.chmod(0o666 & ~_umask())  # mkstemp's own are for the owner alone
        os.replace(beside, path)
        _flush(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def atomic_folder(folder: Path, sign: str) -> Iterator[Path]:
    """Fill a folder beside its place, and put it there when it is finished.

    Args:
        folder: The folder; missing folders above it are made.
        sign: A file that tells what may be replaced: a folder at that place without one stays.

    Yields:
        The folder to fill instead: empty, beside it, hidden.

    Raises:
        FileExistsError: If something else stands at that place.
        OSError: If it cannot be written. What stood there is as it was, and nothing is left beside it.
    """
    if os.path.lexists(folder) and not (folder / sign).is_file():
        raise FileExistsError(errno.EEXIST, f"exists, and holds no {sign}; choose another folder", str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        beside.chmod(0o755)
        yield beside
        _exchange(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, UTF-8.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_partial_files(folder: Path, deep: bool = False) -> None:
    """Remove what killed processes left half-written in a folder; for those who alone write there.

    Args:
        folder: The folder.
        deep: Whether in all folders below it, too.
    """
    for path in list(folder.glob(f"{'**/' * deep}.*{_PARTIAL}")):
        with suppress(OSError):
            path.unlink()


def os_error_reason(error: OSError) -> str:
    """Why a file could not be written, and what would help.

    >>> reason(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device; delete something there, or write elsewhere'
    """
    said = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{said}; delete something there, or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{said}; allow writing there, or write elsewhere"
    return said


def _exchange(beside: Path, folder: Path) -> None:
    """Put a folder into another's place, which stays as it is if that fails."""
    replaced = beside.with_name(f"{beside.name}-replaced")
    there = folder.exists()
    if there:
        folder.rename(replaced)
    try:
        beside.rename(folder)
    except OSError:
        if there:
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make a renaming last through a power cut, where the system lets folders be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
