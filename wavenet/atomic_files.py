"""Atomic writing of files and folders: they appear complete or not at all."""

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path, make_folder: bool = True) -> Iterator[Path]:
    """Write a temporary file beside the target, and move it there once it is complete and on the disk.

    Until then, and after a kill or a power cut, `path` is what it was before. A link stays a link: its target is
    written. Devices, pipes and this process's open files, such as /dev/stdout, are written to directly.

    Args:
        path: The file.
        make_folder: Whether to create missing folders. If not, a missing mount is an error instead of a new folder on
            the wrong disk.

    Yields:
        The temporary file to write: it exists, empty and hidden, in the target's folder. Or the device itself.

    Raises:
        OSError: If the file cannot be written; names `path`, which is unchanged. No temporary file is left.
    """
    try:
        if is_special(path):
            yield path
            return
        with _replacing(Path(os.path.realpath(path)), make_folder) as beside:
            yield beside
    except OSError as error:
        error.filename = str(path)
        raise


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe, a socket or an open file of this process, which is never replaced."""
    opened = str(path.absolute()).startswith(("/proc/", "/dev/fd/", "/dev/stdin", "/dev/stdout", "/dev/stderr"))
    return opened or (path.exists() and not path.is_file() and not path.is_dir())


def check_no_links(folder: Path, paths: Iterable[Path]) -> None:
    """Check that paths below a folder can be written and removed without leaving it.

    Args:
        folder: The folder, which may be a link itself.
        paths: Files or folders below it; they need not exist.

    Raises:
        OSError: If one of them, or a folder between, is a link; names the link.
    """
    checked = {folder}
    for path in paths:
        for each in (path, *path.parents):
            if each in checked:
                break
            checked.add(each)
            if each.is_symlink():
                raise link_error(each)


def link_error(path: Path) -> OSError:
    """Return the error that names a link."""
    return OSError(errno.ELOOP, "is a link, which is not written through; remove it", str(path))


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
    if folder.exists() and not (folder / sign).is_file():
        raise FileExistsError(errno.EEXIST, f"exists, and holds no {sign}; choose another folder", str(folder))
    folder = Path(os.path.realpath(folder))  # a link stays a link
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        beside.chmod(0o755)
        yield beside
        _exchange(beside, folder)
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_partial_files(folder: Path, deep: bool = False, before: float = math.inf) -> None:
    """Remove temporary files that killed processes left in a folder.

    Args:
        folder: The folder.
        deep: Whether to include all folders below it.
        before: Only those that were last written before this time; without it, no other process may be writing there.
    """
    for path in list(folder.glob(f"{'**/' * deep}.*{_PARTIAL}")):
        with suppress(OSError):
            if path.stat().st_mtime < before:
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


@contextmanager
def _replacing(target: Path, make_folder: bool) -> Iterator[Path]:
    """Do `atomic_write` for a regular file, or one that does not exist yet."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if make_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=_PARTIAL)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk may be reported only here
        beside.chmod(0o666 & ~_umask())  # mkstemp gives access to the owner only
        os.replace(beside, target)
        _flush(target.parent)
    finally:
        with suppress(OSError):
            beside.unlink()


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
