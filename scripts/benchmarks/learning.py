"""Benchmark of learning: held-out bits per sample against the time of training and against the samples seen.

Each recipe is a set of changes to configs/train.yaml and a network. All of them see the same segments of the same
recordings in the order of their seed, and are scored on the same held-out recordings. The time is that of training
alone: the clock stops while the held-out recordings are scored. Each run is a process of its own.
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import lightning as L
import torch
from hydra import compose
from omegaconf import DictConfig

from scripts.benchmarks.peers import make_peer
from scripts.benchmarks.plain import VOCODER
from scripts.benchmarks.process import measure_in_process
from scripts.benchmarks.table import header, line_of
from wavenet.cli.built import fill_categories, make_dataset
from wavenet.cli.command import plain
from wavenet.cli.composition import hydra_in
from wavenet.cli.config_files import config_dir
from wavenet.cli.literal import build
from wavenet.cli.preflight import data_settings, training_settings
from wavenet.cli.train import silence_lightning
from wavenet.data import Corpus, add_features, prepare, split
from wavenet.training import (
    ExponentialMovingAverage,
    SegmentData,
    WaveNetTraining,
    flush_denormal_numbers,
    keep_freed_memory,
)

_WARM_UP = 1  # steps before a step's time is measured
_POINTS = 8  # scores in a run
_TRIAL, _TRIAL_STEPS = 10, 40  # seconds, and at least so many steps, from which the steps of a run are derived


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        network: "wavenet", the model of the config; "conv1d", the same shape in its simplest form, `PlainConv1d`; or
            "wavenet-vocoder", the same shape in r9y9's package from PyPI.
        settings: Changes to configs/train.yaml.
    """

    network: str
    settings: tuple[str, ...] = ()


RECIPES = {
    "default": Recipe("wavenet"),
    "AdamW": Recipe(  # the default until 2026-11
        "wavenet",
        (
            "optimizer=adamw", "optimizer.lr=0.01",
            "model.kernel_size=2", "model.dilation_cycle=9", "model.num_cycles=2",
            "batch_size=2", "segment_length=8000", "ema_decay=0.999",
        ),
    ),
    "conv1d": Recipe("conv1d"),
    # The package's own: https://github.com/r9y9/wavenet_vocoder, hparams.py: Adam with lr 0.001, halved every 200 000
    # steps, no clipping. Its average over 10 000 steps would still hold the first weights here, so there is none; and
    # the batch is that of "AdamW" instead of 8 x 10 240, which would leave it few steps.
    VOCODER: Recipe(
        VOCODER,
        (
            "optimizer=adamw", "+optimizer._target_=torch.optim.Adam", "optimizer.lr=0.001",
            "optimizer.betas=[0.9,0.999]",
            "optimizer.weight_decay=0", "optimizer.schedule=constant", "optimizer.warmup_steps=0",
            "trainer.gradient_clip_val=null", "batch_size=2", "segment_length=8000", "ema_decay=0",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        recipe: A name in `RECIPES`.
        experiment: Name of a config in configs/experiment, or None.
        steps: Steps of training.
        seed: Seed of the weights and the segments.
        root: Folder of recordings in place of the package's corpus, a speaker in each of its folders; or None.
        cache: Folder of prepared audio.
        scores: How often the held-out recordings are scored, evenly over the steps.
        cores: The processor cores that the run has to itself; None: all.
    """

    recipe: str
    experiment: str | None
    steps: int
    seed: int
    root: str | None
    cache: str
    scores: int = _POINTS
    cores: tuple[int, ...] | None = None


@dataclass
class Row:
    """One line of the table: a recipe trained for a time, with several seeds.

    Attributes:
        recipe: Its name.
        steps: Steps of training.
        seconds: Time of training, median of the seeds.
        samples: Predicted samples seen in training.
        bits: Held-out bits per sample after the last step, one for each seed.
        curves: For each seed, the (seconds, samples, bits) of each score.
    """

    recipe: str
    steps: int
    seconds: float
    samples: int
    bits: list[float]
    curves: list[list[tuple[float, int, float]]]


def config_of(case: Case) -> DictConfig:
    """Return the config of a run."""
    experiment = [] if case.experiment is None else [f"experiment={case.experiment}"]
    with hydra_in(config_dir()):
        cfg = compose("train", [*RECIPES[case.recipe].settings, *experiment, "logger=none"])
    cfg.seed, cfg.trainer.max_steps, cfg.preparation.cache_dir = case.seed, case.steps, case.cache
    if case.root is not None:
        cfg.dataset = {"_target_": "wavenet.data.folder.Folder", "root": case.root, "speakers_from_folders": True}
    return cfg


def recordings(cfg: DictConfig) -> Corpus:
    """Return all recordings, and fill in the speakers' names in the config."""
    corpus = prepare(make_dataset(cfg.dataset), cfg.model.sample_rate, **plain(cfg.preparation))
    fill_categories(cfg, corpus)
    return corpus


class _Clock(L.Callback):
    """Takes the time of training, without the first steps and without the scoring."""

    def __init__(self, samples_per_step: int) -> None:
        self._samples_per_step = samples_per_step
        self.seconds, self.measured = 0.0, 0
        self.scores: list[tuple[float, int, float]] = []
        self._last: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any, **more: Any) -> None:
        now = time.perf_counter()
        if self._last is not None and trainer.global_step > _WARM_UP:
            self.seconds, self.measured = self.seconds + now - self._last, self.measured + 1
        self._last = now

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps, bits = trainer.global_step, float(trainer.callback_metrics["validation/bits_per_sample"])
        self.scores.append((steps * self.seconds / self.measured, steps * self._samples_per_step, bits))
        self._last = time.perf_counter()


def train(case: Case) -> list[tuple[float, int, float]]:
    """Train once, in this process.

    Returns:
        The seconds of training, the predicted samples seen, and the held-out bits per sample, at each score.
    """
    silence_lightning()
    warnings.filterwarnings("ignore", "training takes several times as long")  # which is what is measured
    keep_freed_memory()
    if case.cores is not None:
        os.sched_setaffinity(0, case.cores)
        torch.set_num_threads(len(case.cores))
    cfg = config_of(case)
    L.seed_everything(case.seed, workers=True, verbose=False)
    corpus = recordings(cfg)
    model = build("model", cfg.model)
    corpus = add_features(corpus, model.features, trimmed=cfg.preparation.trim_db is not None)
    train, held_out = split(corpus, cfg.validation_fraction)
    network = RECIPES[case.recipe].network
    trained: Any = model if network == "wavenet" else make_peer(network, model)
    data = SegmentData(train, held_out, **data_settings(cfg, model))
    clock = _Clock(cfg.batch_size * cfg.segment_length)
    averages = [ExponentialMovingAverage(cfg.ema_decay)] if cfg.ema_decay else []
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=case.steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=-(-case.steps // case.scores),
        num_sanity_val_steps=0,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock, *averages],
    )
    with flush_denormal_numbers():  # as the command does
        trainer.fit(WaveNetTraining(trained, **training_settings(cfg)), data)
    return clock.scores


def run(case: Case) -> list[tuple[float, int, float]]:
    """Train once, in a process of its own; returns what `train` does."""
    scores = measure_in_process("scripts.benchmarks.learning", case, 0.0)
    return [(seconds, samples, bits) for seconds, samples, bits in scores]


def steps_per_second(case: Case) -> float:
    """Return how many steps a recipe takes in a second, from a short run, as long as another shorter one suggests."""
    rate = 0.0
    for seconds in (0, _TRIAL):
        steps = max(_TRIAL_STEPS, round(seconds * rate))
        rate = steps / run(replace(case, steps=steps, scores=1))[-1][0]
    return rate


def shares_of_cores(jobs: int) -> list[tuple[int, ...] | None]:
    """Return the cores of each of several runs at a time: as many for each, and no core for two. None: all.

    Raises:
        ValueError: If there are fewer cores than runs, or the system cannot give a process cores of its own.
    """
    if jobs == 1:
        return [None]
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("--jobs: this system cannot give each run cores of its own; leave it out")
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise ValueError(f"--jobs is {jobs}; this machine has {len(cores)} cores, of which each run needs one")
    size = len(cores) // jobs
    return [tuple(cores[i * size : (i + 1) * size]) for i in range(jobs)]


def benchmark_learning(
    recipes: Sequence[str],
    times: Sequence[float],
    seeds: int = 3,
    jobs: int = 1,
    experiment: str | None = None,
    root: str | None = None,
    cache: str = "data/cache",
    on_run: Callable[[str, int, list[tuple[float, int, float]]], object] = print,
) -> list[Row]:
    """Train each recipe for each time with several seeds, alternating between the recipes.

    Args:
        recipes: Names in `RECIPES`.
        times: Times of training, seconds.
        seeds: Number of runs for each recipe and time, with the seeds 0, 1, ...
        jobs: Runs at a time, each on an equal share of the cores.
        experiment: Name of a config in configs/experiment, such as "vocoder".
        root: Folder of recordings in place of the package's corpus.
        cache: Folder of prepared audio.
        on_run: Called with the recipe, the seed and the scores of each run.

    Returns:
        A row for each recipe and time.

    Raises:
        ValueError: If there are fewer cores than runs at a time.
    """
    free: SimpleQueue[tuple[int, ...] | None] = SimpleQueue()
    for share in shares_of_cores(jobs):
        free.put(share)

    def on_share(work: Callable[[Case], Any], case: Case) -> Any:
        share = free.get()
        try:
            return work(replace(case, cores=share))
        finally:
            free.put(share)

    first = {name: Case(name, experiment, 0, 0, root, cache) for name in recipes}
    with ThreadPoolExecutor(jobs) as pool:
        cases = {}
        rates = pool.map(lambda case: on_share(steps_per_second, case), first.values())
        for (name, case), rate in zip(first.items(), rates, strict=True):
            for seconds in times:  # steps are a multiple of the number of scores
                cases[name, seconds] = replace(case, steps=case.scores * max(1, round(seconds * rate / case.scores)))
        runs = {
            pool.submit(on_share, run, replace(case, seed=seed)): (key, seed)
            for seed in range(seeds)
            for key, case in cases.items()
        }
        try:
            for each in as_completed(runs):
                on_run(runs[each][0][0], runs[each][1], each.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    curves: dict[Any, list[list[tuple[float, int, float]]]] = {key: [] for key in cases}
    for each, (key, _) in runs.items():
        curves[key].append(each.result())
    rows = []
    for key, case in cases.items():
        ends = [curve[-1] for curve in curves[key]]
        seconds = statistics.median(end[0] for end in ends)
        rows.append(Row(key[0], case.steps, seconds, ends[0][1], [end[2] for end in ends], curves[key]))
    return rows


def time_to_reach(bits: float, curves: Sequence[list[tuple[float, int, float]]]) -> float | None:
    """Return the first time at which one of several runs reaches a score, or None.

    Args:
        bits: Held-out bits per sample.
        curves: Runs of one recipe and seed for several times; between two scores of a run, its bits are taken to
            fall linearly with time.
    """
    found = []
    for curve in curves:
        reached = next((i for i, point in enumerate(curve) if point[2] <= bits), None)
        if reached is None:
            continue
        after = curve[reached]
        if reached == 0:
            found.append(after[0])
            continue
        before = curve[reached - 1]
        found.append(before[0] + (after[0] - before[0]) * (before[2] - bits) / (before[2] - after[2]))
    return min(found, default=None)


def speed_up(row: Row, rows: Sequence[Row]) -> float | None:
    """Return how many times as long as the first row's recipe a row's recipe took to its last score.

    The median over the seeds of the ratios between runs of the same seed; None if that recipe never scored as well.
    """
    ours = [other for other in rows if other.recipe == rows[0].recipe]
    ratios = []
    for seed, bits in enumerate(row.bits):
        needed = time_to_reach(bits, [other.curves[seed] for other in ours])
        if needed is None:
            return None
        ratios.append(row.curves[seed][-1][0] / needed)
    return statistics.median(ratios)


def split_in_words(experiment: str | None, root: str | None, cache: str) -> dict[str, Any]:
    """Return the recordings that are trained on, in minutes, and the ids of those that are held out."""
    cfg = config_of(Case("default", experiment, 1, 0, root, cache))
    train, held_out = split(recordings(cfg), cfg.validation_fraction)
    return {
        "training_utterances": len(train.utterances),
        "training_minutes": train.seconds / 60,
        "held_out_minutes": held_out.seconds / 60,
        "held_out": [utterance.id for utterance in held_out.utterances],
    }


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw bits per sample against time and against samples, a colour for each recipe and a line for each run."""
    import matplotlib  # not installed with the package

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(row.recipe for row in rows))}
    for panel, column, unit, label in ((panels[0], 0, 1, "training, s"), (panels[1], 1, 1e6, "samples seen, millions")):
        named: set[str] = set()
        for row in rows:
            for curve in row.curves:
                label_of_line = None if row.recipe in named else row.recipe
                named.add(row.recipe)
                xs, ys = [point[column] / unit for point in curve], [point[2] for point in curve]
                panel.plot(xs, ys, color=colours[row.recipe], linewidth=1, alpha=0.7, label=label_of_line)
                panel.plot(xs[-1:], ys[-1:], color=colours[row.recipe], marker="o", markersize=4)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("held-out bits per sample")
    panels[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


_COLUMNS = {
    "recipe": 15,
    "steps": 6,
    "training, s": 11,
    "samples, millions": 17,
    "bits/sample, median": 19,
    "least - most": 15,
    "x time to the same": 18,
}
HEADER = header(_COLUMNS)


def line(row: Row, rows: Sequence[Row]) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    ratio = speed_up(row, rows)
    numbers = [
        str(row.steps), f"{row.seconds:.0f}", f"{row.samples / 1e6:.1f}", f"{statistics.median(row.bits):.3f}",
        f"{min(row.bits):.3f} - {max(row.bits):.3f}", "" if ratio is None else f"{ratio:.2f}",
    ]  # fmt: skip
    return line_of([row.recipe, *numbers], _COLUMNS)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print(json.dumps(train(Case(**json.loads(sys.argv[1])))))
