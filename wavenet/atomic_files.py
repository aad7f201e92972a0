"""Atomic writing of files and folders: they appear complete or not at all."""

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
    """Write a temporary file beside the target, and move it there once it is complete and on the disk.

    Until then, and after a kill or a power cut, `path` is what it was before.

    Args:
        path: The file.
        make_folder: Whether to create missing folders. If not, a missing mount is an error instead of a new folder on
            the wrong disk.

    Yields:
        The temporary file to write: it exists, empty and hidden, in the same folder.

    Raises:
        OSError: If the file cannot be written; names `path`, which is unchanged. No temporary file is left.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=_PARTIAL)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk may be reported only here
        beside.chmod(0o666 & ~_umask())  # mkstemp gives access to the owner only
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
    """Fill a temporary folder beside the target, and move it there once it is complete.

    Args:
        folder: The folder; missing folders above it are created.
        sign: Name of a file that marks an existing folder as replaceable: without it, the folder is kept.

    Yields:
        The temporary folder to fill: empty and hidden, beside the target.

    Raises:
        FileExistsError: If something else exists at that path.
        OSError: If the folder cannot be written; what exists at that path is unchanged. No temporary folder is left.
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
    """Write a UTF-8 text file atomically.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_partial_files(folder: Path, deep: bool = False) -> None:
    """Remove temporary files that killed processes left in a folder, to which no other process may be writing.

    Args:
        folder: The folder.
        deep: Whether to include all folders below it.
    """
    for path in list(folder.glob(f"{'**/' * deep}.*{_PARTIAL}")):
        with suppress(OSError):
            path.unlink()


def os_error_reason(error: OSError) -> str:
    """Return why a file could not be written, and how to fix it.

    >>> os_error_reason(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device; delete something there, or write elsewhere'
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}; delete something there, or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{reason}; allow writing there, or write elsewhere"
    return reason


def _exchange(beside: Path, folder: Path) -> None:
    """Replace a folder by a temporary one; if that fails, the old folder is unchanged."""
    replaced = beside.with_name(f"{beside.name}-replaced")
    existed = folder.exists()
    if existed:
        folder.rename(replaced)
    try:
        beside.rename(folder)
    except OSError:
        if existed:
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Flush a rename to the disk, where the system allows opening folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
