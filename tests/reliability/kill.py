"""Kills training runs with SIGKILL at random moments, resumes them, and compares where they end.

    python -m tests.reliability.kill [--kills 100] [--seed 0]

For each kind of run there is one that nothing disturbs, and others that are killed again and again until
they are done: at random moments of training, while they start, just as a checkpoint appears that is being
written, or right after the checkpoint that precedes a validation; and some are asked to stop, with SIGTERM.
Two processes are killed together, or one alone, which must end the other. In the end weights, averaged
weights, optimizer, schedule and everything that was logged must be the same to the bit, and no file may be
left that was being written.
"""

import argparse
import collections
import csv
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts.benchmarks.table import header, line_of
from wavenet.machine import machine_in_words

ROOT = Path(__file__).parents[2]
TRAIN = [sys.executable, str(ROOT / "scripts" / "train.py")]
SMALL = [
    "model.residual_channels=8", "model.gate_channels=8", "model.skip_channels=8", "model.condition_channels=4",
    "model.dilation_cycle=5", "model.num_cycles=2", "model.conditioners.speaker.dropout=0.3", "segment_length=2000",
    "trainer.log_every_n_steps=1", "trainer.limit_val_batches=6", "samples.seconds=0.05", "samples.final_seconds=0.1",
    "optimizer.warmup_steps=20",
]  # fmt: skip
ONE = [*SMALL, "num_workers=2", "trainer.max_steps=200", "trainer.val_check_interval=25", "save_every_n_steps=10"]
TWO = [
    *SMALL, "num_workers=1", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true",
    "trainer.max_steps=60", "trainer.val_check_interval=15", "save_every_n_steps=5",
]  # fmt: skip
KINDS = {
    "one process, TensorBoard": [*ONE, "logger=tensorboard"],
    "one process, CSV": [*ONE, "logger=csv"],
    "two processes (DDP), CSV": [*TWO, "logger=csv"],
}
AIMS = ("any moment", "any moment", "the start", "a checkpoint being written", "a validation", "SIGTERM")
_TRAINS = b" left"  # what the progress bar says when training begins
_PATIENCE = 300  # seconds for one life of a run
_LONGEST = 4.0  # seconds of training after which a kill is due at the latest, or half of what training takes
_PARTS = ("global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")


@dataclass
class Tally:
    """What happened to one kind of run."""

    runs: int = 0
    kills: int = 0
    stops: int = 0
    moments: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)


def undisturbed(settings: list[str], folder: Path) -> Path:
    """Train without a kill; returns the run's folder."""
    command = [*TRAIN, *settings, f"run_dir={folder}"]
    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE, env=_environment(folder))
    return folder


def training_seconds(run: Path) -> float:
    """How long an undisturbed run took from its config to its last checkpoint."""
    return (run / "checkpoints" / "last.ckpt").stat().st_mtime - (run / "config.yaml").stat().st_mtime


def killed(settings: list[str], run: Path, rng: random.Random, most: int, tally: Tally, seconds: float) -> None:
    """Train, killing the run up to so many times, and then let it end; `seconds` is what it takes undisturbed.

    A run may end before it was killed so often: when it was done by itself.
    """
    tally.runs += 1
    within = min(_LONGEST, seconds / 2)
    distributed = "trainer=ddp" in settings
    kills_before = tally.kills
    while True:
        last_life = tally.kills - kills_before >= most
        resumes = run.exists()
        command = [*TRAIN, f"resume={run}"] if resumes else [*TRAIN, *settings, f"run_dir={run}"]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=_environment(run)
            )
            if last_life:
                process.wait(_PATIENCE)
            else:
                _kill(process, output, run, rng, distributed, tally, within)
            output.seek(0)
            printed = output.read().decode(errors="replace")
        if process.returncode == 0:
            return
        if last_life or not (
            distributed or process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
        ):
            tally.faults.append(f"{run.name}: exit {process.returncode}: {printed[-2000:]}")
            return


def faults(expected: Path, run: Path) -> list[str]:
    """In what a run that was killed differs from the one that was not."""
    found = []
    for name in ("last", "best"):
        whole, other = (torch.load(at / "checkpoints" / f"{name}.ckpt", weights_only=True) for at in (expected, run))
        found += [
            f"{run.name}: {name}.ckpt differs in {part}" for part in _PARTS if not _same(whole[part], other[part])
        ]
    if logged(expected) != logged(run):
        found.append(f"{run.name}: what was logged differs")
    left = [path.name for path in run.rglob(".*")] + [path.name for path in run.parent.glob(f".{run.name}-*")]
    if left:
        found.append(f"{run.name}: left behind {left}")
    return found


def logged(run: Path) -> dict[str, dict[int, float]]:
    """Every number that was logged, by name and step, apart from the speed."""
    entries: dict[str, dict[int, float]] = collections.defaultdict(dict)
    table = run / "csv" / "metrics.csv"
    if table.is_file():
        with table.open(newline="") as file:
            for line in csv.DictReader(file):
                for name, value in line.items():
                    if value and name != "step":
                        entries[name][int(line["step"])] = float(value)
    else:
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            scalars = events.Scalars(name)
            if len({scalar.step for scalar in scalars}) < len(scalars):
                entries[f"{name}, twice"] = {scalar.step: scalar.value for scalar in scalars}
            entries[name] = {scalar.step: scalar.value for scalar in scalars}
    entries.pop("samples_per_second", None)
    return dict(entries)


def _kill(
    process: subprocess.Popen,
    output: IO[bytes],
    run: Path,
    rng: random.Random,
    distributed: bool,
    tally: Tally,
    within: float,
) -> None:
    aim, began = rng.choice(AIMS), time.time()
    _await(process, lambda: _has_config(run, began) if aim == "the start" else _TRAINS in _said(output))
    _await_moment(process, run, aim, rng, within)
    if process.poll() is None and aim == "SIGTERM":
        process.terminate()
        process.wait(_PATIENCE)
        _await_end_of_group(process.pid)
        tally.stops += 1
        too_late = process.returncode == -signal.SIGTERM and _is_complete(run)  # nobody listens any more
        if process.returncode not in (0, 128 + signal.SIGTERM) and not too_late:
            tally.faults.append(f"{run.name}: exit {process.returncode} on SIGTERM")
    elif process.poll() is None:
        alone = distributed and rng.random() < 0.5
        victim = rng.choice([process.pid, *_children(process.pid)[:1]]) if alone else None
        if victim is None:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(victim, signal.SIGKILL)
        process.wait(_PATIENCE)
        _await_end_of_group(process.pid)
        tally.kills += 1
        tally.moments[_moment(run, _TRAINS in _said(output))] += 1
        if alone:
            tally.moments["of one process alone"] += 1


def _await_moment(process: subprocess.Popen, run: Path, aim: str, rng: random.Random, within: float) -> None:
    """Wait some time, and then for what is aimed at, but not for long."""
    deadline = time.monotonic() + rng.uniform(0, within)
    checkpoints, last = run / "checkpoints", run / "checkpoints" / "last.ckpt"
    before = _changed(last)
    at_random = aim not in ("a checkpoint being written", "a validation")
    while process.poll() is None and time.monotonic() < deadline + (0 if at_random else 10):
        if at_random:
            time.sleep(0.001)
        elif aim == "a checkpoint being written":
            if time.monotonic() > deadline and any(checkpoints.glob(".*.partial")):
                return
        elif _changed(last) != before and time.monotonic() > deadline:
            before = _changed(last)
            if _validation_due(last):
                time.sleep(rng.uniform(0, 0.1))
                return


def _await(process: subprocess.Popen, so: Callable[[], bool]) -> None:
    """Wait until something is so, or the process has ended."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline and not so():
        time.sleep(0.01)


def _has_config(run: Path, began: float) -> bool:
    """Whether a run wrote its config, which it does when all is built; a kill before it leaves what was there."""
    return run.exists() and (run / "config.yaml").stat().st_mtime > began - 1


def _said(output: IO[bytes]) -> bytes:
    """The beginning of what a process has printed, without moving the place where it goes on."""
    return os.pread(output.fileno(), 2**16, 0)


def _moment(run: Path, trains: bool) -> str:
    """When a run was killed, as far as its folder and what it printed tell."""
    last = run / "checkpoints" / "last.ckpt"
    if not trains:
        return "while it started"
    if any((run / "checkpoints").glob(".*.partial")):
        return "while a checkpoint was written"
    if list(run.rglob(".*.partial")):
        return "while a log or a WAV was written"
    if not last.exists():
        return "before the first checkpoint"
    return "in a validation" if _validation_due(last) else "in or between steps"


def _validation_due(checkpoint: Path) -> bool:
    return bool(torch.load(checkpoint, weights_only=True)["callbacks"]["LastCheckpoint"]["validation_due"])


def _is_complete(run: Path) -> bool:
    steps = int(re.findall(r"max_steps: (\d+)", (run / "config.yaml").read_text())[0])
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return last["global_step"] == steps and not last["callbacks"]["LastCheckpoint"]["validation_due"]


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _children(pid: int) -> list[int]:
    """Processes that train beside a process: its children that run the same script."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            if b"train.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def _await_end_of_group(group: int) -> None:
    """The others must end by themselves: a process that waits for a dead one would hold a machine for ever."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise RuntimeError("a process was still there a minute after the one beside it was killed")


def _environment(run: Path) -> dict[str, str]:
    return {**os.environ, "WAVENET_CACHE": str(run.parent / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(_same, a, b))
    return a == b


def main() -> None:
    """Print a table; exit 1 if a run did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    asked = parser.parse_args()
    print(machine_in_words(), flush=True)
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every resumption
    rng = random.Random(asked.seed)
    columns = {"run": 26, "runs": 4, "kills": 5, "SIGTERM": 7, "moments": 118, "as undisturbed": 14}
    print(header(columns), flush=True)
    everything = []
    folder = Path(tempfile.mkdtemp(prefix="wavenet-kill-"))
    for number, kind in enumerate(asked.kinds):
        tally, name = Tally(), re.sub(r"\W+", "-", kind)
        expected = undisturbed(KINDS[kind], folder / f"{name}-whole")
        share = (asked.kills * (number + 1)) // len(asked.kinds) - (asked.kills * number) // len(asked.kinds)
        while tally.kills < share and not tally.faults:
            run = folder / f"{name}-{tally.runs}"
            most = min(15, share - tally.kills)
            killed(KINDS[kind], run, rng, most, tally, training_seconds(expected))
            if not tally.faults:
                tally.faults += faults(expected, run)
        moments = ", ".join(f"{count} {moment}" for moment, count in sorted(tally.moments.items()))
        cells = [
            kind,
            str(tally.runs),
            str(tally.kills),
            str(tally.stops),
            moments,
            f"{tally.runs - bool(tally.faults)} of {tally.runs}",
        ]
        print(line_of(cells, columns), flush=True)
        everything += tally.faults
    print("\n".join(everything) or "every run ended as the undisturbed one, to the bit")
    if everything:
        print(f"the runs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
