"""A bounded cache, on this machine, of what is read of the shards of a corpus elsewhere."""

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from wavenet.atomic_files import os_error_reason
from wavenet.data.dataset import DatasetError
from wavenet.data.shards.layout import shard_name
from wavenet.data.shards.place import Place, cut_off, first_line

BLOCK = 2**17  # bytes that are read at once: a second or more of speech, for little more than the time of a request
THREADS = 16  # of a process, each with one request
_OPEN_FILES = 4096  # of a process; opening one takes a request, too
_LEFT = 0.9  # of the limit after blocks are removed
_SWEEPS = 64  # per limit's worth of new blocks

Block = tuple[int, int]  # a shard's number, and the block's in it


class BlockCache:
    """Blocks of shards, in files that all processes of this machine share; the least recently used are removed.

    Args:
        place: The corpus.
        folder: The cache's folder.
        limit: Bytes that it may hold, about.
        sizes: Bytes of each shard.
    """

    def __init__(self, place: Place, folder: Path, limit: int, sizes: Sequence[int]) -> None:
        self._place, self._folder, self._limit, self._sizes = place, folder, limit, sizes
        self._written, self._warned = 0, False
        self._lock = threading.Lock()
        self._pending: dict[Block, tuple[Future, int]] = {}  # and the block's place in what is read
        self._files: OrderedDict[int, Any] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read a range of a shard's bytes, fewer at its end.

        Raises:
            DatasetError: If they cannot be read.
        """
        first, last = offset // BLOCK, -(-(offset + size) // BLOCK)
        parts: list[bytes | None] = [self._cached((shard, block)) for block in range(first, last)]
        missing = [first + index for index, part in enumerate(parts) if part is None]
        for run in _runs(missing):
            parts[run.start - first : run.stop - first] = self._download(shard, run)
        whole = b"".join(part for part in parts if part is not None)
        return whole[offset - first * BLOCK :][:size]

    def prefetch(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Begin to read ranges that will be needed: (shard, offset, size) of each; errors show when they are read."""
        for shard, offset, size in ranges:
            blocks = range(offset // BLOCK, -(-(offset + size) // BLOCK))
            for run in _runs([block for block in blocks if not self._path((shard, block)).exists()]):
                self._begin(shard, run)

    def _begin(self, shard: int, run: range) -> None:
        with self._lock:
            if any((shard, block) in self._pending for block in run):
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead")
            future = self._pool.submit(self._download, shard, run)
            self._pending |= {(shard, block): (future, index) for index, block in enumerate(run)}
        future.add_done_callback(lambda _: self._end(shard, run))

    def _end(self, shard: int, run: range) -> None:
        with self._lock:
            for block in run:
                self._pending.pop((shard, block), None)

    def _cached(self, block: Block) -> bytes | None:
        """Return a block that is here, or is on its way; None if it is neither."""
        with self._lock:
            pending = self._pending.get(block)
        if pending is not None:
            future, index = pending
            if future.exception() is None:  # otherwise it is tried again
                return future.result()[index]
        path = self._path(block)
        try:
            content = path.read_bytes()
            os.utime(path)  # used just now
        except OSError:
            return None
        return content if len(content) == self._size(block) else None  # damaged: it is read again

    def _download(self, shard: int, run: range) -> list[bytes]:
        """Read consecutive blocks, and keep them."""
        offset = run.start * BLOCK
        size = min(self._sizes[shard] - offset, len(run) * BLOCK)
        name = shard_name(shard)
        try:
            content = self._open(shard).read_at(size, offset)
        except OSError as error:
            raise DatasetError(f"{self._place.named(name)}: {first_line(error):.300}") from error
        if len(content) != size:
            raise cut_off(self._place.named(name), offset + size)
        parts = [content[start : start + BLOCK] for start in range(0, size, BLOCK)]
        for block, part in zip(run, parts, strict=True):
            self._keep((shard, block), part)
        return parts

    def _open(self, shard: int) -> Any:
        """Return an open file of the store, which several threads may use."""
        with self._lock:
            file = self._files.pop(shard, None)
        if file is None:
            file = self._place.open(shard_name(shard))
        with self._lock:
            self._files[shard] = file
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        return file

    def _keep(self, block: Block, content: bytes) -> None:
        path = self._path(block)
        # unlike `atomic_write`, it does not wait for the disk: a block that is lost is read again
        beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
            os.replace(beside, path)
        except OSError as error:  # what was read is used all the same
            with suppress(OSError):
                beside.unlink()
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self._folder}: nothing is kept there ({os_error_reason(error)}), so each sample is read from "
                    f"{self._place.text} again; preparation.cache_dir sets the folder",
                    stacklevel=2,
                )
            return
        with self._lock:
            self._written += len(content)
            full = self._written > self._limit / _SWEEPS
            if full:
                self._written = 0
        if full:
            self._sweep()

    def _sweep(self) -> None:
        """Remove the least recently used blocks above the limit."""
        found, total = [], 0
        for folder in _entries(self._folder):
            for entry in _entries(folder.path):
                try:
                    status = entry.stat()
                except OSError:  # another process removed it
                    continue
                found.append((status.st_mtime_ns, status.st_size, entry.path))
                total += status.st_size
        for _, size, path in sorted(found) if total > self._limit else ():
            if total <= _LEFT * self._limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size

    def _path(self, block: Block) -> Path:
        return self._folder / f"{block[0]:05d}" / f"{block[1]:05d}"

    def _size(self, block: Block) -> int:
        return min(BLOCK, self._sizes[block[0]] - block[1] * BLOCK)

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self._place, "folder": self._folder, "limit": self._limit, "sizes": self._sizes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _entries(folder: Path | str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _runs(blocks: Sequence[int]) -> list[range]:
    """Return consecutive numbers as ranges."""
    runs: list[range] = []
    for block in blocks:
        if runs and runs[-1].stop == block:
            runs[-1] = range(runs[-1].start, block + 1)
        else:
            runs.append(range(block, block + 1))
    return runs
