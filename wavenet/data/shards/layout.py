"""The files of a corpus in shards: how samples, features, rows and the manifest are written and read."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from wavenet.audio import Features, as_int16
from wavenet.data.columns import NONE, Categories, Columns, id_hash
from wavenet.data.features import settings_of
from wavenet.data.origin import Licence, Origin

MANIFEST, INDEX, SKIPPED = "corpus.json", "index.arrow", "skipped.txt"
FORMAT = 1
_OF_COLUMNS = ("length", "source_seconds", "held_out", "hash", "rank")
DTYPES = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:05d}.arrow"


@dataclass(frozen=True)
class Content:
    """What a shard holds of an utterance, and what the index states of it.

    Attributes:
        id: Its id.
        samples: (T,) float32 in [-1, 1].
        source_seconds: Length of the recording before trimming, seconds.
        held_out: 1, 0, or `NONE`: whether published lists hold it out.
        conditions: Its named conditions.
        frames: Of each feature, (num_channels, frames) float32.
    """

    id: str
    samples: np.ndarray
    source_seconds: float
    held_out: int
    conditions: dict[str, str]
    frames: dict[str, np.ndarray]


def encode_shard(
    number: int, contents: Sequence[Content], dtype: str, features: Sequence[str]
) -> tuple[memoryview, pa.Table]:
    """Return a shard's file, and the rows of the index for it: all columns but the rank, conditions as strings."""
    ids = pa.array([each.id for each in contents], pa.large_string())
    columns = {"id": ids, "samples": _lists([encode_samples(each.samples, dtype) for each in contents], DTYPES[dtype])}
    for name in features:
        columns[f"feature.{name}"] = _lists([each.frames[name].T.ravel() for each in contents], DTYPES["float32"])
    batch = pa.record_batch(columns)
    file = _file_of(batch)
    read = ipc.open_file(file).get_batch(0)  # its columns are views into the file
    starts = {name: _starts(read.column(name), file.address) for name in columns if name != "id"}
    rows = {
        "id": ids,
        "shard": pa.array(np.full(len(contents), number, np.int32)),
        "offset": pa.array(starts["samples"]),
        "length": pa.array([len(each.samples) for each in contents], pa.int64()),
        "source_seconds": pa.array([each.source_seconds for each in contents], pa.float64()),
        "held_out": pa.array([each.held_out for each in contents], pa.int8()),
        "hash": pa.array([id_hash(each.id) for each in contents], pa.uint64()),
    }
    rows |= {f"feature.{name}": pa.array(starts[f"feature.{name}"]) for name in features}
    for name in sorted({name for each in contents for name in each.conditions}):
        rows[f"condition.{name}"] = pa.array([each.conditions.get(name) for each in contents], pa.string())
    return memoryview(file), pa.table(rows)


def encode_part(rows: pa.Table, **stated: Any) -> memoryview:
    """Return the file of a shard's rows, with what else is stated of the shard."""
    return memoryview(_file_of(rows.replace_schema_metadata({"stated": json.dumps(stated)}).combine_chunks()))


def decode_part(file: bytes) -> tuple[pa.Table, dict[str, Any]]:
    """Return a shard's rows, and what else is stated of it."""
    rows = ipc.open_file(pa.py_buffer(file)).read_all()
    return rows.replace_schema_metadata(None), json.loads(rows.schema.metadata[b"stated"])


def encode_index(parts: Sequence[pa.Table]) -> tuple[memoryview, Columns]:
    """Return the index's file, and its columns.

    Args:
        parts: The rows of all shards, sorted by id.
    """
    rows = pa.concat_tables(parts, promote_options="default").combine_chunks()
    for place, name in enumerate(rows.column_names):
        if name.startswith("condition."):
            encoded = rows.column(name).dictionary_encode().combine_chunks()
            rows = rows.set_column(place, name, encoded)
    columns = columns_from({name: _whole(rows.column(name)) for name in rows.column_names}).with_ranks()
    rows = rows.append_column("rank", pa.array(columns.ranks))
    return memoryview(_file_of(rows)), columns


def columns_from(index: Mapping[str, Any]) -> Columns:
    """Return the columns that the arrays of an index describe; no numbers are copied."""
    conditions = {
        name.removeprefix("condition."): Categories(
            (column.indices.fill_null(NONE) if column.null_count else column.indices).to_numpy(),
            ArrowStrings(column.dictionary),
        )
        for name, column in index.items()
        if name.startswith("condition.")
    }
    numbers = {name: column.to_numpy() for name, column in index.items() if name in _OF_COLUMNS}
    lengths, seconds, held_out = numbers["length"], numbers["source_seconds"], numbers["held_out"]
    return Columns(lengths, seconds, held_out, conditions, numbers["hash"], numbers.get("rank"))


class ArrowStrings(Sequence[str]):
    """Strings of an Arrow column, which become Python's one by one.

    Args:
        column: An array of strings.
    """

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return one string, or the strings of a slice."""
        found = self._column[index]
        return ArrowStrings(found) if isinstance(index, slice) else found.as_py()


def encode_samples(samples: np.ndarray, dtype: str) -> np.ndarray:
    """Return samples as they are stored: 16-bit ones as a WAV file of the cache has them."""
    return as_int16(samples).astype(DTYPES[dtype]) if dtype == "int16" else samples.astype(DTYPES[dtype])


def decode_samples(stored: bytes, dtype: str) -> np.ndarray:
    """Return stored samples as float32 in [-1, 1]."""
    samples = np.frombuffer(stored, DTYPES[dtype]).astype(np.float32)
    return samples / np.float32(32768) if dtype == "int16" else samples


def describe_features(features: Features) -> dict[str, Any]:
    """Return what a feature's frames depend on, as plain data.

    Raises:
        DatasetError: If its class is no dataclass, so that its settings are unknown.
    """
    return {
        "name": features.name,
        "class": type(features).__qualname__,
        "settings": json.loads(json.dumps(settings_of(features), default=str)),
    }


def origin_as_data(origin: Origin) -> dict[str, Any]:
    """Return a corpus's licences as plain data."""
    return dataclasses.asdict(origin)


def origin_from(data: Mapping[str, Any]) -> Origin:
    """Return the licences that `origin_as_data` described."""
    licences = tuple(Licence(str(each["name"]), str(each["attribution"])) for each in data["licences"])
    return Origin(licences, None if data["hub"] is None else str(data["hub"]))


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the digest of all that a manifest states, itself excepted, and so of the whole corpus."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def sha256(content: bytes | memoryview) -> str:
    """Return a digest as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _file_of(rows: Any) -> pa.Buffer:
    """Return the Arrow file of a batch, or of a table, in one batch."""
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, rows.schema) as writer:
        if isinstance(rows, pa.Table):
            writer.write_table(rows, max_chunksize=max(1, len(rows)))
        else:
            writer.write_batch(rows)
    return sink.getvalue()


def _whole(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _lists(arrays: Sequence[np.ndarray], dtype: np.dtype) -> Any:
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in arrays])]).astype(np.int64)
    values = np.concatenate([*arrays, np.empty(0, dtype)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _starts(column: Any, address: int) -> np.ndarray:
    """Return where each list of numbers begins in the file at a place in memory, bytes."""
    values = column.values
    first = values.buffers()[1].address - address + values.offset * values.type.byte_width
    return first + column.offsets.to_numpy()[:-1] * values.type.byte_width
