"""Benchmark of reading training segments: from recordings, from the prepared cache, and from shards."""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
from torch.utils.data import DataLoader

from scripts.benchmarks.table import header, line_of
from wavenet.audio import read, write
from wavenet.data import Corpus, SegmentStream, TrainingSegments, prepare
from wavenet.data.corpus import Prepared
from wavenet.data.prompts import Prompts
from wavenet.data.shards import Shards, prepare_shards


@dataclass
class Row:
    """One line of the table.

    Attributes:
        source: "FLAC" or "WAV": recordings at their original rate; "cache": prepared audio, which training reads;
            "shards": the same in Arrow files; "store": in Arrow files in a store, read in blocks that are kept.
        workers: Loader processes; 0 reads in the training process.
        segment: Predicted samples per segment.
        context: Context samples read before each segment.
        segments: Segments per second and process.
        samples: Predicted samples per second and process.
        of_step: Fraction of the training process's time that reading takes, at the given training speed; None with
            workers.
        workers_for_gpu: Number of such workers that a GPU needs to train at `GPU_RATE`.
    """

    source: str
    workers: int
    segment: int
    context: int
    segments: float
    samples: float
    of_step: float | None
    workers_for_gpu: float


GPU_RATE = 5e6  # samples per second


def corpora(folder: Path, sample_rate: int, store: str | None = None) -> dict[str, Corpus]:
    """Return the package's recordings as original FLAC and as WAV files, as prepared audio, and in shards.

    Args:
        folder: For what is written.
        sample_rate: Of the prepared audio, in Hz.
        store: A place for shards that are read through the cache of blocks, such as s3://BUCKET/FOLDER.
    """
    dataset = Prompts()
    flac, wav = [], []
    for utterance in dataset.scan().utterances:
        info = soundfile.info(utterance.path)
        original = Prepared(
            utterance.id, utterance.path, utterance.path, info.frames, info.duration, utterance.conditions
        )
        flac.append(original)
        copied = folder / "wav" / f"{utterance.id}.wav"
        write(copied, *read(utterance.path))
        wav.append(replace(original, path=copied))
    rate = soundfile.info(flac[0].path).samplerate
    found = {"FLAC": Corpus("FLAC", rate, flac, []), "WAV": Corpus("WAV", rate, wav, [])}
    found["cache"] = prepare(dataset, sample_rate, folder / "cache", progress=False)
    for source, place in (("shards", str(folder / "shards")), *([] if store is None else [("store", store)])):
        prepare_shards(dataset, sample_rate, place, progress=False)
        found[source] = prepare(Shards(place), sample_rate, folder / "cache", progress=False)
    return found


def benchmark_data(
    training_rate: float,
    segment: int = 2000,
    context: int = 135,
    batch: int = 1,
    seconds: float = 3.0,
    sample_rate: int = 8000,
    store: str | None = None,
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Measure the rate of reading segments from each source, in this process and in a worker process.

    Args:
        training_rate: Training speed in predicted samples per second.
        segment: Predicted samples per segment.
        context: Context samples read before each segment.
        batch: Segments per batch.
        seconds: Length of each measurement.
        sample_rate: Sample rate of the prepared audio, in Hz.
        store: See `corpora`.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for source, corpus in corpora(Path(folder), sample_rate, store).items():
            dataset = TrainingSegments(corpus, segment, context, seed=0)
            dataset.stride = batch
            for workers in (0, 1):
                started = "spawn" if workers and corpus.is_remote else None  # as training starts them
                loader = DataLoader(
                    dataset, batch_sampler=SegmentStream(batch), num_workers=workers, multiprocessing_context=started
                )
                rate = batch * batches_per_second(loader, seconds)
                row = Row(
                    *(source, workers, segment, context),
                    segments=rate,
                    samples=rate * segment,
                    of_step=None if workers else training_rate / (rate * segment + training_rate),
                    workers_for_gpu=GPU_RATE / (rate * segment),
                )
                rows.append(row)
                on_row(row)
    return rows


def batches_per_second(loader: DataLoader, seconds: float) -> float:
    """Measure how many batches a loader brings per second."""
    batches = iter(loader)
    for _ in itertools.repeat(None, 20):  # fills the system's file cache and starts the workers
        next(batches)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - began)


_COLUMNS = {
    "source": 6,
    "workers": 7,
    "context + segment": 17,
    "segments/s": 10,
    "samples/s": 10,
    "of a step": 9,
    "workers for a GPU": 17,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    cells = [
        *(row.source, str(row.workers), f"{row.context} + {row.segment}"),
        *(f"{row.segments:.0f}", f"{row.samples:.0f}"),
        "" if row.of_step is None else f"{100 * row.of_step:.2f} %",
        f"{row.workers_for_gpu:.2f}",
    ]
    return line_of(cells, _COLUMNS)
