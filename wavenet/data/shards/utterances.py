"""The utterances of a corpus in shards: columns of its index, and ranges of its files."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from wavenet.audio import Features
from wavenet.data.columns import NONE, Columns
from wavenet.data.corpus import IndexedUtterances
from wavenet.data.dataset import DatasetError
from wavenet.data.shards.block_cache import BlockCache
from wavenet.data.shards.layout import DTYPES, columns_from, decode_samples, describe_features, shard_name
from wavenet.data.shards.place import Place, cut_off

_OPEN_FILES = 64  # of a process
_NUMBERS = {
    "shard": pa.int32(), "offset": pa.int64(), "length": pa.int64(), "source_seconds": pa.float64(),
    "held_out": pa.int8(), "hash": pa.uint64(), "rank": pa.int32(),
}  # fmt: skip


@dataclass(frozen=True)
class ShardedUtterance:
    """One utterance; see `wavenet.data.corpus.PreparedUtterance`."""

    id: str
    num_samples: int
    source_seconds: float
    conditions: dict[str, str]
    held_out: bool | None
    shard: int
    offset: int
    features: dict[str, int]
    files: "ShardFiles"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read samples [start, stop); no others are read.

        Raises:
            DatasetError: If the shard is missing or damaged.
        """
        return decode_samples(self.files.read(*self.range_of(start, stop)), self.files.dtype)

    def frames(self, features: Features, first: int, last: int) -> np.ndarray:
        """Read frames [first, last) of a feature; no others are read.

        Raises:
            DatasetError: If the shard is missing or damaged.
        """
        stored = self.files.read(*self.range_of_frames(features, first, last))
        return np.ascontiguousarray(np.frombuffer(stored, DTYPES["float32"]).reshape(-1, features.num_channels).T)

    def range_of(self, start: int, stop: int) -> tuple[int, int, int]:
        """Return where samples [start, stop) are: the shard's number, the first byte, and how many bytes."""
        size = DTYPES[self.files.dtype].itemsize
        return self.shard, self.offset + start * size, (stop - start) * size

    def range_of_frames(self, features: Features, first: int, last: int) -> tuple[int, int, int]:
        """Return where frames [first, last) of a feature are, as far as it has them; see `range_of`."""
        first, last = (min(number, features.num_frames(self.num_samples)) for number in (first, last))
        size = 4 * features.num_channels
        return self.shard, self.features[features.name] + first * size, (last - first) * size


class ShardFiles:
    """Reads ranges of bytes from the shards of a corpus.

    Those on this machine are read through open files, not mapped into memory: a file that is cut off while it is
    mapped would end the process without a word.

    Args:
        place: The corpus's folder.
        dtype: Type of the samples.
        cache: Keeps what is read of shards that are not on this machine; None for those that are.
    """

    def __init__(self, place: Place, dtype: str, cache: BlockCache | None = None) -> None:
        self.place, self.dtype, self.cache = place, dtype, cache
        self._open: OrderedDict[int, int] = OrderedDict()  # file descriptors, the latest used last

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read a range of a shard.

        Raises:
            DatasetError: If the shard is missing, or ends before it.
        """
        if self.cache is not None:
            return self.cache.read(shard, offset, size)
        try:
            stored = self._pread(shard, offset, size)
        except OSError as error:
            raise DatasetError(
                f"{self.place.named(shard_name(shard))}: {error.strerror or error}; check that its disk is mounted"
            ) from error
        if len(stored) != size:
            raise cut_off(self.place.named(shard_name(shard)), offset + size)
        return stored

    def _pread(self, shard: int, offset: int, size: int) -> bytes:
        file = self._open.pop(shard, None)
        if file is None:
            file = os.open(Path(self.place.text) / shard_name(shard), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if len(self._open) >= _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        self._open[shard] = file
        return os.pread(file, size, offset)

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "dtype": self.dtype, "cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        for file in self._open.values():
            os.close(file)


class ShardedUtterances(IndexedUtterances):
    """The utterances of a corpus in shards.

    Args:
        index: The index's file, on this machine.
        files: The shards.
        features: Descriptions of the features that it was prepared with, by name.
        digest: The corpus's.
        numbers: (U,) the rows of these utterances; None: all.
    """

    def __init__(
        self,
        index: Path,
        files: ShardFiles,
        features: dict[str, dict[str, Any]],
        digest: str,
        numbers: np.ndarray | None = None,
    ) -> None:
        self._path, self._files, self._features, self.digest, self._numbers = index, files, features, digest, numbers

    @cached_property
    def _index(self) -> dict[str, Any]:
        """The index's columns, which lie in the system's file cache, where all processes share them."""
        try:
            batch = ipc.open_file(pa.memory_map(str(self._path))).get_batch(0)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self._path}: not readable as an index ({str(error).strip():.200})") from error
        return dict(zip(batch.schema.names, batch.columns, strict=True))

    @cached_property
    def _numeric(self) -> dict[str, np.ndarray]:
        offsets = [name for name in self._index if name.startswith("feature.")]
        return {name: self._index[name].to_numpy() for name in (*_NUMBERS, *offsets)}  # views of the file

    @cached_property
    def _every(self) -> Columns:
        return columns_from(self._index)

    @cached_property
    def columns(self) -> Columns:  # type: ignore[override]
        """Their columns."""
        return self._every if self._numbers is None else self._every.select(self._numbers)

    def select(self, numbers: np.ndarray) -> "ShardedUtterances":
        """Return some of them, in the order given."""
        rows = numbers if self._numbers is None else self._numbers[numbers]
        return ShardedUtterances(self._path, self._files, self._features, self.digest, rows.astype(np.int32))

    def check_features(self, features: Sequence[Features]) -> None:
        """Check that the corpus was prepared with these features.

        Raises:
            DatasetError: If not; names the feature, what differs and the fix.
        """
        for each in features:
            wanted, stored = describe_features(each), self._features.get(each.name)
            if stored is None:
                have = ", ".join(self._features) or "none"
                reason = f"has no features '{each.name}', which this model is conditioned on (it has {have})"
            elif stored != wanted:
                pairs = wanted["settings"].items()
                differing = [
                    f"{key} is {stored['settings'].get(key)!r}, not {value!r}"
                    for key, value in pairs
                    if stored["settings"].get(key) != value
                ]
                reason = f"has other features '{each.name}': {'; '.join(differing) or stored['class']}"
            else:
                continue
            raise DatasetError(
                f"{self._files.place.text}: {reason}; prepare it again by wavenet prepare, with this model's settings"
            )

    @property
    def is_remote(self) -> bool:
        """Whether they are read from a store."""
        return self._files.cache is not None

    def prefetch(self, ranges: Iterable[tuple[int, int, int]], features: Sequence[Features]) -> None:
        """Begin to read what will be needed, if it is read from a store.

        Args:
            ranges: Of each utterance: its number, the first sample, and one past the last, at most its length.
            features: Their frames are needed, too.
        """
        if self._files.cache is None:
            return
        for number, start, stop in ranges:
            utterance = self[number]
            wanted = [utterance.range_of(start, min(stop, utterance.num_samples))]
            for each in features:
                first = start // each.hop_length
                wanted.append(utterance.range_of_frames(each, first, first + each.num_frames(stop - start)))
            self._files.cache.prefetch(wanted)

    def __len__(self) -> int:
        return len(self._numeric["shard"]) if self._numbers is None else len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> ShardedUtterance: ...
    @overload
    def __getitem__(self, index: slice) -> "ShardedUtterances": ...
    def __getitem__(self, index: int | slice) -> "ShardedUtterance | ShardedUtterances":
        """Return one utterance, or those of a slice."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = range(len(self))[index] if self._numbers is None else int(self._numbers[index])
        codes = [(name, each.values, int(each.codes[row])) for name, each in self._every.conditions.items()]
        conditions = {name: values[code] for name, values, code in codes if code != NONE}
        numeric = self._numeric
        held_out = int(numeric["held_out"][row])
        return ShardedUtterance(
            self._index["id"][row].as_py(),
            int(numeric["length"][row]),
            float(numeric["source_seconds"][row]),
            conditions,
            None if held_out == NONE else bool(held_out),
            int(numeric["shard"][row]),
            int(numeric["offset"][row]),
            {name: int(numeric[f"feature.{name}"][row]) for name in self._features},
            self._files,
        )

    def __getstate__(self) -> dict[str, Any]:
        names = ("index", "files", "features", "digest", "numbers")
        values = (self._path, self._files, self._features, self.digest, self._numbers)
        return dict(zip(names, values, strict=True))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def check_index(path: Path, manifest: dict[str, Any]) -> None:
    """Check that an index has the columns of its format, and that every row lies within its shard.

    Raises:
        DatasetError: If not; names the file and the fault.
    """
    try:
        with pa.memory_map(str(path)) as mapped:
            reader = ipc.open_file(mapped)
            if reader.num_record_batches != 1:
                raise DatasetError(f"{path}: an index has one batch of rows, and this one has more or fewer")
            batch = reader.get_batch(0)
            batch.validate(full=True)
            _check_columns(path, batch, manifest)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: not readable as an index ({str(error).strip():.200})") from error


def _check_columns(path: Path, batch: Any, manifest: dict[str, Any]) -> None:
    features = {f"feature.{name}": each for name, each in manifest["features"].items()}
    expected = _NUMBERS | dict.fromkeys(features, pa.int64()) | {"id": pa.large_string()}
    for name, kind in expected.items():
        if name not in batch.schema.names or batch.schema.field(name).type != kind or batch.column(name).null_count:
            raise DatasetError(f"{path}: has no column '{name}' of {kind} without gaps; copy the corpus again")
    for field in batch.schema:
        if field.name.startswith("condition.") and field.type != pa.dictionary(pa.int32(), pa.string()):
            raise DatasetError(f"{path}: the column '{field.name}' must be a dictionary of strings")
    sizes = np.array([each["bytes"] for each in manifest["shards"]], np.int64)
    shard, offset, length = (batch.column(name).to_numpy() for name in ("shard", "offset", "length"))
    if len(batch) != manifest["utterances"] or not len(batch) or length.min() < 1 or offset.min() < 0:
        raise DatasetError(f"{path}: does not fit {manifest['utterances']} utterances; copy the corpus again")
    if shard.min() < 0 or shard.max() >= len(sizes):
        raise DatasetError(f"{path}: names shards that are not in corpus.json; copy the corpus again")
    width = DTYPES[manifest["dtype"]].itemsize
    if (length > (sizes[shard] - offset) // width).any():
        raise DatasetError(f"{path}: has rows beyond the end of their shard; copy the corpus again")
