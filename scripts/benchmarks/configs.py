"""Benchmark of configs: what `wavenet train` takes with different settings, and what comes of it.

Each run is a command in a process of its own. Configs made for a CPU are trained to their end. Those made for GPUs take
a CPU days, on corpora that are not part of the package: a few steps on the package's corpus show their size and speed.
"""

import csv
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks.process import measure_in_process
from scripts.benchmarks.table import header, line_of
from wavenet.checkpoint import load
from wavenet.cli.built import prepared
from wavenet.cli.saved_config import load_saved_config
from wavenet.data import split
from wavenet.evaluation import Score, score_each
from wavenet.report.speed import speed

DEFAULT = "default"
TRAINED = (
    DEFAULT,
    "experiment=vocoder",
    "model/distribution=logistic_mixture",
    "model/context=small",
    "optimizer=adamw",
)
FOR_GPUS = (
    "experiment=paper",
    "experiment=vctk",
    "experiment=vctk_vocoder",
    "experiment=sashimi_wavenet",
    "experiment=vocoder_22k",
    "experiment=vocoder_24k",
)
_TRIED = (  # settings of a config for GPUs that is tried on a CPU
    "dataset=prompts", "trainer=cpu", "trainer.precision=32-true", "compile=false", "num_workers=0", "batch_size=1",
    "trainer.max_steps=5", "trainer.limit_val_batches=1", "trainer.log_every_n_steps=1", "logger=csv",
    "samples.seconds=0", "samples.final_seconds=0.1", "samples.max_num=1",
)  # fmt: skip
_GENERATED, _TIMES = 2.0, 3  # seconds of audio, and how often they are generated, to measure the speed
_LONGEST = 80  # letters of a config in the name of its run
_PEAK = Path(__file__).with_name("peak.py")


@dataclass
class Trained:
    """One line of the first table: a config trained to its end.

    Attributes:
        config: The command line after `wavenet train`, or "default" for none.
        parameters: Number of parameters.
        receptive_field: Of the network, seconds.
        steps: Optimizer steps.
        seconds: Time of the whole command, with validation, and with the preparation of audio that is not in the cache.
        memory: Peak resident memory of the command's process, bytes.
        bits: Bits per held-out sample of the run's best checkpoint, with the levels of its output distribution.
        bits_16: Bits per held-out 16-bit sample, comparable between distributions; see `Score`.
        real_time: Seconds of audio generated in a second: one utterance, one thread.
    """

    config: str
    parameters: int
    receptive_field: float
    steps: int
    seconds: float
    memory: int
    bits: float
    bits_16: float
    real_time: float


@dataclass
class Tried:
    """One line of the second table: a config for GPUs, tried on a CPU with a few steps of a single segment.

    Attributes:
        config: The command line after `wavenet train`, without the settings that make it fit a CPU.
        parameters: Number of parameters, with the speakers of the package's corpus.
        receptive_field: Of the network, seconds.
        sample_rate: Hz.
        segment: Predicted samples of a step.
        rate: Predicted samples per second in training, median of the steps after the first.
        memory: Peak resident memory of the command's process, bytes.
        real_time: Seconds of audio generated in a second: one utterance, one thread.
    """

    config: str
    parameters: int
    receptive_field: float
    sample_rate: int
    segment: int
    rate: float
    memory: int
    real_time: float


@dataclass(frozen=True)
class Finished:
    """A run that is looked at in a process of its own.

    Attributes:
        run: Its folder.
        cache: Folder of prepared audio.
        scored: Whether its held-out recordings are scored.
    """

    run: str
    cache: str
    scored: bool


def train(run: Path, cache: Path, *settings: str) -> dict[str, Any]:
    """Train in a process of its own.

    Args:
        run: The run's folder.
        cache: Folder of prepared audio.
        settings: As on the command line.

    Returns:
        "seconds", of the whole command, and "memory", the peak of its process in bytes.

    Raises:
        RuntimeError: If it fails; has the last line that it printed.
    """
    command = [sys.executable, "-m", "wavenet.cli.train", *settings, f"run_dir={run}", f"preparation.cache_dir={cache}"]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "peak.json"
        measuring = [sys.executable, "-I", str(_PEAK), str(written), *command]
        process = subprocess.run(measuring, capture_output=True, text=True, check=False)
        if process.returncode:
            lines = (process.stdout + process.stderr).split("\n")
            raise RuntimeError(next((line for line in reversed(lines) if line), f"exit code {process.returncode}"))
        return json.loads(written.read_text())


def look_at(finished: Finished, seconds: float) -> dict[str, Any]:
    """Load a run's best checkpoint, and measure it.

    Args:
        finished: The run.
        seconds: Length of the audio that is generated.

    Returns:
        What rows have in common; "steps" and "segment" of its settings; and "bits" and "bits_16" if it is scored.
    """
    run = Path(finished.run)
    model, cfg = load(run), load_saved_config(run / "config.yaml", finished.cache)
    corpus = prepared(cfg, model)
    found: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "receptive_field": model.receptive_field / model.sample_rate,
        "sample_rate": model.sample_rate,
        "steps": cfg.trainer.max_steps,
        "segment": cfg.segment_length,
    }
    if finished.scored:
        _, held_out = split(corpus, cfg.validation_fraction)
        score = sum(score_each(model, held_out), Score())
        found |= {"bits": score.bits_per_sample, "bits_16": score.bits_per_16_bit_sample}
    speeds = [speed(model, seconds, corpus.conditions(0)) for _ in range(_TIMES)]
    return found | {"real_time": statistics.median(each["times_real_time"] for each in speeds)}


def _rate(run: Path) -> float:
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        rates = [float(row["samples_per_second"]) for row in csv.DictReader(file)]
    return statistics.median(rates[1:] or rates)


def _measure(config: str, run: Path, cache: Path, steps: int | None) -> Trained | Tried:
    tried = config in FOR_GPUS
    settings = [*([] if config == DEFAULT else shlex.split(config)), *(_TRIED if tried else ())]
    if steps is not None:
        settings = [each for each in settings if not each.startswith("trainer.max_steps=")]
        settings.append(f"trainer.max_steps={steps}")
    used = train(run, cache, *settings)
    found = measure_in_process("scripts.benchmarks.configs", Finished(str(run), str(cache), not tried), _GENERATED)
    measured = {"config": config, "rate": _rate(run) if tried else None, **used, **found}
    row = Tried if tried else Trained
    return row(**{name: measured[name] for name in row.__annotations__})


def benchmark_configs(
    configs: Sequence[str],
    folder: Path,
    cache: Path,
    steps: int | None,
    on_row: Callable[[Trained | Tried], object],
    on_failure: Callable[[str, str], object],
) -> list[Trained | Tried]:
    """Train configs, one after the other.

    Args:
        configs: The settings of each as on the command line; those in `FOR_GPUS` are only tried.
        folder: A new folder for the runs.
        cache: Folder of prepared audio.
        steps: Optimizer steps of every run; None for its own.
        on_row: Called with each row as soon as it is measured.
        on_failure: Called with a config that fails, and the reason; the others go on.

    Returns:
        The rows.

    Raises:
        FileExistsError: If the folder is there.
        RuntimeError: If not even a single step of the default config can be taken.
    """
    folder.mkdir(parents=True)
    folder, cache = folder.resolve(), cache.resolve()
    train(folder / "trial", cache, "trainer.fast_dev_run=true")  # keeps nothing; compiles native code, which all share
    rows = []
    for number, config in enumerate(configs, 1):
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", config)[:_LONGEST]
        try:
            rows.append(_measure(config, folder / f"{number:02d}-{name}", cache, steps))
        except (RuntimeError, ValueError) as error:
            on_failure(config, str(error))
            continue
        on_row(rows[-1])
    return rows


_TRAINED_COLUMNS = {
    "config": 35,
    "parameters, M": 13,
    "receptive field, ms": 19,
    "steps": 5,
    "time, min": 9,
    "peak memory, MB": 15,
    "bits/sample": 11,
    "as 16-bit": 9,
    "x real time": 11,
}
_TRIED_COLUMNS = {
    "config": 26,
    "parameters, M": 13,
    "receptive field, ms": 19,
    "sample rate, Hz": 15,
    "batch x segment": 15,
    "samples/s": 9,
    "peak memory, MB": 15,
    "x real time": 11,
}
TRAINED_HEADER, TRIED_HEADER = header(_TRAINED_COLUMNS), header(_TRIED_COLUMNS)


def line(row: Trained | Tried) -> str:
    """Format a row as a line of the Markdown table that `TRAINED_HEADER` or `TRIED_HEADER` begins."""
    first = [row.config, f"{row.parameters / 1e6:.2f}", f"{1000 * row.receptive_field:.0f}"]
    memory, real_time = f"{row.memory / 1e6:.0f}", f"{row.real_time:.2f}"
    if isinstance(row, Tried):
        size = [str(row.sample_rate), f"1 x {row.segment}", f"{row.rate:.0f}"]
        return line_of([*first, *size, memory, real_time], _TRIED_COLUMNS)
    taken = [str(row.steps), f"{row.seconds / 60:.1f}", memory]
    return line_of([*first, *taken, f"{row.bits:.3f}", f"{row.bits_16:.3f}", real_time], _TRAINED_COLUMNS)


if __name__ == "__main__":
    print(json.dumps(look_at(Finished(**json.loads(sys.argv[1])), float(sys.argv[2]))))
