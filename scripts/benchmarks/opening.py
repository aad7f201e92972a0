"""Benchmark of opening a prepared corpus: time and memory of each process, and the time to locate a segment."""

import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from scripts.benchmarks.table import header, line_of
from wavenet.atomic_files import write_text
from wavenet.audio import write
from wavenet.data import TrainingSegments, prepare, split
from wavenet.data.folder import Folder
from wavenet.data.shards import Shards
from wavenet.data.shards.layout import FORMAT, INDEX, MANIFEST, SKIPPED, digest_of, encode_index, shard_name

RATE = 8000
_PER_SPEAKER, _PER_SHARD, _AT_ONCE = 1000, 200, 1_000_000
_LONGEST = 20 * RATE  # samples of an utterance
_DIGITS = 10
_SHORT = 0.12  # seconds of a recording of the cache of files
_LOCATED = 2000


@dataclass
class Row:
    """One line of the table.

    Attributes:
        corpus: "files", the cache of `dataset=folder`, or "shards".
        utterances: Number of utterances.
        processes: Processes that open it at once.
        seconds: From the start to the first segment's place, the slowest process.
        megabytes: Memory of its own that a process gains, the largest; None if the system does not say.
        locate_us: Time to locate a segment, microseconds.
    """

    corpus: str
    utterances: int
    processes: int
    seconds: float
    megabytes: float | None
    locate_us: float


def write_index(folder: Path, num_utterances: int) -> None:
    """Write the index and manifest of a corpus in shards, whose shards themselves do not exist.

    Args:
        folder: A new folder.
        num_utterances: Utterances, of 1 to 20 s at 8 kHz.
    """
    folder.mkdir(parents=True)
    random, parts = np.random.default_rng(0), []
    speakers = pa.array([f"speaker{number:05d}" for number in range(-(-num_utterances // _PER_SPEAKER))])
    for first in range(0, num_utterances, _AT_ONCE):
        numbers = np.arange(first, min(first + _AT_ONCE, num_utterances))
        lengths = random.integers(RATE, _LONGEST, len(numbers))
        columns = {
            "id": _names(numbers),
            "shard": (numbers // _PER_SHARD).astype(np.int32),
            "offset": numbers % _PER_SHARD * 2 * _LONGEST,
            "length": lengths,
            "source_seconds": lengths / RATE,
            "held_out": np.full(len(numbers), -1, np.int8),
            "hash": random.integers(0, 2**64, len(numbers), np.uint64),
            "condition.speaker": speakers.take(pa.array(numbers // _PER_SPEAKER)),
        }
        parts.append(pa.table(columns))
    file, columns = encode_index(parts)
    (folder / INDEX).write_bytes(file)
    (folder / SKIPPED).write_text("")
    shards = -(-num_utterances // _PER_SHARD)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": "index",
        "sample_rate": RATE,
        "dtype": "int16",
        "utterances": num_utterances,
        "samples": columns.samples,
        "conditions": ["speaker"],
        "features": {},
        "trim_db": None,
        "min_seconds": 0.1,
        "skipped": 0,
        "origin": {"licences": [], "hub": None},
        "index": {"bytes": len(file), "sha256": ""},
        "shards": [{"bytes": _PER_SHARD * 2 * _LONGEST, "sha256": shard_name(number)} for number in range(shards)],
        "plan": "",
    }
    write_text(folder / MANIFEST, json.dumps(manifest | {"digest": digest_of(manifest)}))


def _names(numbers: np.ndarray) -> pa.Array:
    """Return the numbers as strings of ten digits."""
    digits = (numbers[:, None] // 10 ** np.arange(_DIGITS - 1, -1, -1) % 10 + ord("0")).astype(np.uint8)
    ends = np.arange(len(numbers) + 1) * _DIGITS
    return pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(digits))


def first_segment(corpus: str, folder: Path) -> TrainingSegments:
    """Open a corpus and locate its first training segment, as a process of a run does before its first step."""
    dataset = Shards(str(folder / "shards")) if corpus == "shards" else Folder(folder / "recordings")
    training, _ = split(prepare(dataset, RATE, folder / "cache", progress=False), 0.01)
    segments = TrainingSegments(training, 2000, 135, seed=0)
    segments.locate(0)
    return segments


def private_megabytes() -> float | None:
    """Return this process's memory that it shares with none, MB; None where the system does not say."""
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) / 1e3


def _open(corpus: str, folder: Path, together: Any, answer: Any) -> None:
    before = private_megabytes()
    together.wait()
    began = time.perf_counter()
    segments = first_segment(corpus, folder)
    seconds, after = time.perf_counter() - began, private_megabytes()
    began = time.perf_counter()
    for number in range(_LOCATED):
        segments.locate(number)
    located = (time.perf_counter() - began) / _LOCATED
    answer.send((seconds, None if before is None or after is None else after - before, 1e6 * located))


def _all_at_once(corpus: str, folder: Path, count: int) -> list[tuple[float, float | None, float]]:
    context = multiprocessing.get_context("spawn")
    together, answers = context.Barrier(count), []
    for _ in range(count):
        answer, sent = context.Pipe(duplex=False)
        context.Process(target=_open, args=(corpus, folder, together, sent)).start()
        sent.close()  # here, so that an end without an answer is seen
        answers.append(answer)
    return [answer.recv() for answer in answers]


def benchmark_opening(
    sizes: Sequence[tuple[str, int]],
    processes: Sequence[int] = (1, 4),
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Measure what it costs each process to open a corpus that was prepared before.

    Args:
        sizes: "files" or "shards", and the number of utterances.
        processes: Numbers of processes that open it at once.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    rows = []
    for corpus, size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _make(corpus, folder, size)
            for count in processes:
                found = _all_at_once(corpus, folder, count)
                seconds, megabytes, located = zip(*found, strict=True)
                row = Row(corpus, size, count, max(seconds), max(megabytes), max(located))
                rows.append(row)
                on_row(row)
    return rows


def _make(corpus: str, folder: Path, size: int) -> None:
    if corpus == "shards":
        write_index(folder / "shards", size)
        return
    noise = 0.1 * torch.randn(round(_SHORT * RATE), generator=torch.Generator().manual_seed(0))
    for number in range(size):
        write(folder / "recordings" / f"{number // 1000:04d}" / f"{number:07d}.wav", noise, RATE)
    prepare(Folder(folder / "recordings"), RATE, folder / "cache", progress=False)


_COLUMNS = {"corpus": 6, "utterances": 10, "processes": 9, "seconds": 7, "MB each": 7, "to locate": 9}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    cells = [
        *(row.corpus, str(row.utterances), str(row.processes), f"{row.seconds:.2f}"),
        "" if row.megabytes is None else f"{row.megabytes:.0f}",
        f"{row.locate_us:.1f} us",
    ]
    return line_of(cells, _COLUMNS)
