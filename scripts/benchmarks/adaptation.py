"""Benchmark of fine-tuning: held-out bits of a new voice before and after a model is adapted to minutes of it."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

import wavenet
from scripts.benchmarks.table import header, line_of
from wavenet.audio import looks_like_audio
from wavenet.checkpoint import build, describe
from wavenet.data import Corpus, prepare
from wavenet.data.folder import Folder
from wavenet.evaluation import Score, utterance_bits
from wavenet.model import WaveNet
from wavenet.training import take_weights

_SPEAKER = "voice"
_SHORTEST, _LONGEST = 1.0, 10.0  # seconds, of a recording that is used


@dataclass
class Row:
    """One line of the table.

    Attributes:
        model: How it begins and what is trained.
        steps: Optimizer steps.
        lr: Peak learning rate; None before training.
        bits: Bits per sample on the held-out recordings.
        seconds: Time of training, with validation and samples.
    """

    model: str
    steps: int
    lr: float | None
    bits: float
    seconds: float


_COLUMNS = {"model": 33, "steps": 6, "lr": 8, "bits/sample": 11, "time, s": 7}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    rate = "" if row.lr is None else f"{row.lr:g}"
    return line_of([row.model, str(row.steps), rate, f"{row.bits:.3f}", f"{row.seconds:.0f}"], _COLUMNS)


def divide(voice: Path, folder: Path, seconds: Sequence[float]) -> list[Path]:
    """Link recordings of a voice into folders, one for each length, in a random order that is the same each time.

    Raises:
        ValueError: If there are too few.
    """
    found = [path for path in sorted(voice.rglob("*")) if path.is_file() and looks_like_audio(path)]
    files = [path for path in found if _SHORTEST <= soundfile.info(path).duration <= _LONGEST]
    random.Random(0).shuffle(files)
    folders = []
    for number, length in enumerate(seconds):
        folders.append(folder / f"recordings-{number}" / _SPEAKER)
        folders[-1].mkdir(parents=True)
        taken = 0.0
        while taken < length:
            if not files:
                needed = f"{sum(seconds):.0f} s of recordings of {_SHORTEST:g} to {_LONGEST:g} s"
                raise ValueError(f"{voice}: has less than {needed}")
            path = files.pop()
            (folders[-1] / path.name).symlink_to(path.resolve())
            taken += soundfile.info(path).duration
    return folders


def with_the_voice(source: WaveNet) -> WaveNet:
    """Return a model like another one, with random weights, that knows the new speaker, too."""
    settings = describe(source)
    settings["conditioners"]["speaker"]["categories"] = [*settings["conditioners"]["speaker"]["categories"], _SPEAKER]
    return build(settings)


def score(model: WaveNet, held_out: Corpus) -> float:
    """Return the bits per sample of a model on recordings of the voice."""
    numbers = range(len(held_out.utterances))
    scores = [utterance_bits(model.eval(), held_out.read(i), {"speaker": _SPEAKER}) for i in numbers]
    return sum(scores, Score()).bits_per_sample


def benchmark_adaptation(
    voice: Path,
    folder: Path,
    base: str,
    minutes: float,
    steps: Sequence[int],
    rates: Sequence[float],
    on_row: Callable[[Row], object],
) -> list[Row]:
    """Adapt a model to some minutes of a voice, and score it on as many others and half as many more.

    Args:
        voice: A folder with recordings of one speaker.
        folder: A new folder for links, runs and prepared audio.
        base: The model to begin with, which is conditioned on the speaker.
        minutes: Length of the recordings to train on.
        steps: Optimizer steps of the runs.
        rates: Learning rates of the runs.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows: before training; with only the new speaker's vector trained; adapted; with random weights at first.
    """
    training, others = divide(voice, folder, [60 * minutes, 90 * minutes])
    source = wavenet.load(base)
    dataset, cache = Folder(training.parent, speakers_from_folders=True), folder / "cache"
    held_out = prepare(Folder(others.parent, speakers_from_folders=True), source.sample_rate, cache)
    rows: list[Row] = []

    def add(name: str, model: WaveNet, num_steps: int, rate: float | None, seconds: float) -> None:
        rows.append(Row(name, num_steps, rate, score(model, held_out), seconds))
        on_row(rows[-1])

    def train(name: str, model: WaveNet | str, num_steps: int, rate: float | None, *settings: str) -> None:
        began = time.perf_counter()
        common = [f"preparation.cache_dir={cache}", "trainer.enable_progress_bar=false", "samples.final_seconds=0.5"]
        run = wavenet.train(
            model, dataset, folder / f"run-{len(rows)}", steps=num_steps, lr=rate, validate_every=num_steps,
            device="cpu", logger="none", settings=[*common, *settings],
        )  # fmt: skip
        add(name, wavenet.load(run.folder), num_steps, rate, time.perf_counter() - began)

    before = with_the_voice(source)
    take_weights(before, source)
    add(base, before, 0, None, 0.0)
    train(f"{base}, only the speaker's vector", base, steps[-1], None, "freeze=[input,stack,head,distribution]")
    for num_steps in steps:
        for rate in rates:
            train(f"{base}, adapted", base, num_steps, rate)
    train("random weights", with_the_voice(source), steps[-1], None)
    return rows
