"""How fast training segments are read, from recordings and from the prepared cache."""

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


@dataclass
class Row:
    """One line of the table.

    Attributes:
        source: "FLAC" or "WAV", recordings at their own rate; "cache", what training reads.
        workers: Loader processes; 0 reads in the training process.
        segment: Samples predicted in a segment.
        context: Samples read before it.
        segments: Segments a second, of one process.
        samples: Predicted samples a second, of one process.
        of_step: What share of the training process's time reading takes, at the given speed of training.
        workers_for_gpu: How many such workers feed a GPU that trains 5 M samples a second.
    """

    source: str
    workers: int
    segment: int
    context: int
    segments: float
    samples: float
    of_step: float | None
    workers_for_gpu: float


GPU_RATE = 5e6  # samples a second


def corpora(folder: Path, sample_rate: int) -> dict[str, Corpus]:
    """The package's recordings as they are (FLAC), as WAVs of the same rate, and prepared."""
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
    cache = prepare(dataset, sample_rate, cache_dir=str(folder / "cache"), progress=False)
    return {"FLAC": Corpus("FLAC", rate, flac, []), "WAV": Corpus("WAV", rate, wav, []), "cache": cache}


def benchmark_data(
    training_rate: float,
    segment: int = 8000,
    context: int = 1023,
    batch: int = 2,
    seconds: float = 3.0,
    sample_rate: int = 8000,
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Read segments for so many seconds from each source, in this process and from a worker.

    Args:
        training_rate: Speed of training, predicted samples a second.
        segment: Samples predicted in a segment.
        context: Samples read before it.
        batch: Segments in a batch.
        seconds: Length of a measurement.
        sample_rate: Of the cache, Hz.
        on_row: Is called with each row when it is known.

    Returns:
        The rows.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for source, corpus in corpora(Path(folder), sample_rate).items():
            dataset = TrainingSegments(corpus, segment, context, seed=0)
            for workers in (0, 1):
                loader = DataLoader(dataset, batch_sampler=SegmentStream(batch), num_workers=workers)
                rate = batch * _batches_a_second(loader, seconds)
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


def _batches_a_second(loader: DataLoader, seconds: float) -> float:
    batches = iter(loader)
    for _ in itertools.repeat(None, 20):  # files come into the system's cache, workers begin
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
    """A row of the table, under `HEADER`; both are Markdown."""
    cells = [
        *(row.source, str(row.workers), f"{row.context} + {row.segment}"),
        *(f"{row.segments:.0f}", f"{row.samples:.0f}"),
        "" if row.of_step is None else f"{100 * row.of_step:.2f} %",
        f"{row.workers_for_gpu:.2f}",
    ]
    return line_of(cells, _COLUMNS)
