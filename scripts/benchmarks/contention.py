"""Benchmark of training and generation beside another busy process, which takes part of a core all the time.

Threads that wait in a busy loop keep a core from the threads that they wait for, once there are fewer cores than busy
threads. OpenMP does so for a while by default; the commands make that while short (`wavenet.cli`).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.benchmarks import generation, training
from scripts.benchmarks.process import measure_in_process
from scripts.benchmarks.table import header, line_of, median_ratio
from wavenet.cli import SPIN_COUNT

_BUSY = "while True: pass"


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        work: "training" of the default model, or "generation" of one utterance by the shape S.
        network: "wavenet", which runs native code, or "wavenet, PyTorch".
        threads: Threads of either.
        waiting: How long OpenMP's threads wait in a busy loop: "default", or "short", as in the commands.
    """

    work: str
    network: str
    threads: int
    waiting: str


def cases_for(threads: int) -> list[Case]:
    """Return what is measured on a machine with that many cores."""
    networks = ("wavenet", "wavenet, PyTorch")
    training = [Case("training", network, threads, waiting) for network in networks for waiting in ("default", "short")]
    return training + [Case("generation", "wavenet", count, "short") for count in (1, threads)]


@dataclass
class Row:
    """One line of the table.

    Attributes:
        case: What was measured.
        alone: Samples per second with no other process, median of the rounds.
        beside: Samples per second beside a busy process, likewise.
        slower: Time for a sample beside it relative to the time alone, median of the rounds' ratios.
    """

    case: Case
    alone: float
    beside: float
    slower: float


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep a process busy on one core."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def benchmark_contention(
    cases: Sequence[Case], rounds: int = 5, seconds: float = 3.0, on_row: Callable[[Row], object] = print
) -> list[Row]:
    """Measure each case alone and beside a busy process, alternating in each round.

    Args:
        cases: What is measured.
        rounds: Number of measurements of each case.
        seconds: Minimum length of a measurement.
        on_row: Called with each row.

    Returns:
        The rows.
    """
    alone: dict[Case, list[float]] = {case: [] for case in cases}
    beside: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            alone[case].append(run(case, seconds))
            with busy_process():
                beside[case].append(run(case, seconds))
    rows = []
    for case in cases:
        slower = median_ratio(alone[case], beside[case])
        rows.append(Row(case, statistics.median(alone[case]), statistics.median(beside[case]), slower))
        on_row(rows[-1])
    return rows


def run(case: Case, seconds: float) -> float:
    """Return the samples per second of a case in a new process: OpenMP reads its settings when it is loaded."""
    others = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = others | {"OMP_NUM_THREADS": str(case.threads)} | (SPIN_COUNT if case.waiting == "short" else {})
    return measure_in_process("scripts.benchmarks.contention", case, seconds, environment)


def measure(case: Case, seconds: float) -> float:
    """Return the samples per second of a case."""
    if case.work == "training":
        loop = "lightning" if case.network == "wavenet" else "hand"  # Lightning would take native code for both
        return training.measure(training.Case("default", case.network, loop, batch=1, segment=2000), seconds)["rate"]
    backend = generation.CPUBackend(generation.make_model("S"), threads=case.threads)
    generate = generation.runner(backend, batch=1)
    generate(1000)
    samples, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        generate(2000)
        samples += 2000
    return samples / (time.perf_counter() - began)


_COLUMNS = {
    "work": 10,
    "network": 16,
    "threads": 7,
    "busy waiting": 12,
    "alone, samples/s": 16,
    "beside": 8,
    "x slower": 8,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    case = row.case
    numbers = [f"{row.alone:.0f}", f"{row.beside:.0f}", f"{row.slower:.2f}"]
    return line_of([case.work, case.network, str(case.threads), case.waiting, *numbers], _COLUMNS)


if __name__ == "__main__":
    print(measure(Case(**json.loads(sys.argv[1])), float(sys.argv[2])))
