"""Benchmark of preparation and scoring by processes of this machine, by threads, and by Ray."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import wavenet
from scripts.benchmarks.table import header, line_of
from wavenet.audio import read, resample, write
from wavenet.cli.launched import Share
from wavenet.cli.scoring import PartialScores
from wavenet.data import Corpus, prepare
from wavenet.data.folder import Folder
from wavenet.data.prompts import Prompts
from wavenet.data.shards import prepare_shards
from wavenet.model import WaveNet

_RECORDED, _PREPARED = 48_000, 16_000  # Hz
_MODEL = "babble"


@dataclass
class Row:
    """One line of the table.

    Attributes:
        task: "prepare": recordings at 48 kHz into shards at 16 kHz; "score": held-out bits of the package's babble.
        engine: "processes", "threads" (of scoring in one process) or "ray".
        workers: How many.
        seconds: From the call to its end, with the start of workers.
        rate: Recordings per second, or samples per second.
        ratio: Rate compared with the task's first row.
    """

    task: str
    engine: str
    workers: int
    seconds: float
    rate: float
    ratio: float


def benchmark_engines(recordings: int = 960, on_row: Callable[[Row], object] = print) -> list[Row]:
    """Measure both tasks with one worker, with one for each processor, and by Ray, which takes as many.

    Args:
        recordings: Number of recordings: those of the package, again and again.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    rows, workers = [], os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, corpus = _recordings(folder, recordings)
        works = {
            "prepare": (len(dataset.scan().utterances), partial(_prepare, dataset, folder)),
            "score": (corpus.columns.samples, partial(_score, wavenet.load(_MODEL), corpus, folder)),
        }
        for task, (amount, work) in works.items():
            own, first = "processes" if task == "prepare" else "threads", None
            for engine, count in ((own, 1), (own, workers), ("ray", workers)):
                began = time.perf_counter()
                work(engine, count)
                seconds = time.perf_counter() - began
                first = seconds if first is None else first
                rows.append(Row(task, engine, count, seconds, amount / seconds, first / seconds))
                on_row(rows[-1])
    return rows


def _recordings(folder: Path, count: int) -> tuple[Folder, Corpus]:
    """Return recordings at 48 kHz, and a part of them prepared for the model."""
    for number, utterance in enumerate(itertools.islice(itertools.cycle(Prompts().scan().utterances), count)):
        samples, rate = read(utterance.path)
        path = folder / "recordings" / utterance.conditions["speaker"] / f"{number:05d}.flac"
        write(path, resample(samples, rate, _RECORDED), _RECORDED)
    dataset = Folder(folder / "recordings", speakers_from_folders=True)
    corpus = prepare(dataset, wavenet.load(_MODEL).sample_rate, folder / "cache", progress=False)
    return dataset, corpus.select(np.arange(0, len(corpus.utterances), 4))


def _prepare(dataset: Folder, folder: Path, engine: str, count: int) -> None:
    place, settings = folder / f"{engine}-{count}", {"shard_megabytes": 1.0, "progress": False}  # a shard is a task
    if engine == "ray":
        prepare_shards(dataset, _PREPARED, place, engine=engine, **settings)
    else:
        prepare_shards(dataset, _PREPARED, place, num_processes=count, **settings)


def _score(model: WaveNet, corpus: Corpus, folder: Path, engine: str, count: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        parts = PartialScores(folder / "parts", Share(), "processes" if engine == "threads" else engine, batch_size=1)
        parts.score_each(model, corpus)
    finally:
        torch.set_num_threads(before)


_COLUMNS = {"task": 7, "engine": 9, "workers": 7, "seconds": 7, "per second": 16, "x speed": 7}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    unit = "recordings" if row.task == "prepare" else "samples"
    cells = [row.task, row.engine, str(row.workers), f"{row.seconds:.1f}", f"{row.rate:.0f} {unit}", f"{row.ratio:.2f}"]
    return line_of(cells, _COLUMNS)
