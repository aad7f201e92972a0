"""Benchmark of generation: samples per second, and how close this is to the machine's limit."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.floors import multiply_add_rate, read_bandwidth
from scripts.benchmarks.plain import vocoder
from scripts.benchmarks.table import header, line_of, median_ratio
from wavenet.distributions import MuLawCategorical
from wavenet.generation.cpu import CPUBackend
from wavenet.generation.reference import ReferenceBackend
from wavenet.generation.uniforms import uniforms
from wavenet.model import State, WaveNet
from wavenet.native import Layout
from wavenet.native.instructions import HAS_FLOAT16
from wavenet.native.rounding import WEIGHTS

SAMPLE_RATE = 16000
SHAPES: dict[str, dict[str, Any]] = {
    "S": {"residual_channels": 32, "gate_channels": 64, "skip_channels": 512, "num_cycles": 5},
    "M20": {"residual_channels": 64, "gate_channels": 128, "skip_channels": 256, "num_cycles": 2},
    "M30": {"residual_channels": 64, "gate_channels": 128, "skip_channels": 256, "num_cycles": 3},
    "L": {
        "residual_channels": 512,
        "gate_channels": 512,
        "skip_channels": 256,
        "kernel_size": 3,
        "dilation_cycle": 6,
        "num_cycles": 4,
    },
}
_NARROW = "M30"  # the shape that is measured with narrower weights as well
_COMPILE = """
import time, torch
from wavenet.distributions import MuLawCategorical
from wavenet.model import State, WaveNet
model = WaveNet(MuLawCategorical(), 16000, num_cycles=1).eval()
began = time.perf_counter()
from wavenet.generation.cpu import CPUBackend
CPUBackend(model, weights="{weights}").run(State(torch.zeros(1, 1), None), None, torch.rand(1, 1, 1))
print(time.perf_counter() - began)
"""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        shape: Shape of the model, a name in `SHAPES`.
        backend: Name of the backend.
        weights: Format in which the weights are stored.
        batch: Number of utterances generated together.
        threads: Number of CPU threads.
        rate: Samples per second of all utterances together, median of the rounds.
        slowest: Lowest rate of the rounds.
        fastest: Highest rate of the rounds.
        real_time: Speed relative to real time: rate / batch / sample rate.
        to_reference: Rate relative to the reference backend's for the same batch, median of the rounds' ratios.
        to_floor: Rate relative to the machine's limit, measured just before and after; median of the rounds.
        error: Largest difference of an output parameter from the reference in float32; the parameters have a standard
            deviation of 1.
        compile: Seconds to the first sample of a new process with an empty compilation cache.
    """

    shape: str
    backend: str
    weights: str
    batch: int
    threads: int
    rate: float
    slowest: float
    fastest: float
    real_time: float
    to_reference: float
    to_floor: float
    error: float | None
    compile: float | None


def make_model(shape: str) -> WaveNet:
    """Return a model with random weights, scaled so that its output parameters have a standard deviation of 1."""
    torch.manual_seed(0)
    model = WaveNet(MuLawCategorical(), SAMPLE_RATE, **SHAPES[shape]).eval()
    with torch.inference_mode():
        deviation = model(_waveform(1, 200))[0].std()
    with torch.no_grad():
        for parameter in Layout(model).head[-1].parameters():
            parameter.div_(deviation)
    return model


def _waveform(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, length, generator=generator) * 2 - 1


def products(model: WaveNet) -> int:
    """Return the multiplications per sample: the number of weights in all matrices, without embeddings and biases."""
    tables = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    return sum(p.numel() for p in model.parameters() if p.dim() > 1 and id(p) not in tables)


def floor(model: WaveNet, batch: int, threads: int, bytes_per_weight: int) -> float:
    """Return the limit, in samples per second, of a program that reads and multiplies each weight once per sample.

    In each step, each thread reads the weights that it needs from the cache that holds them, and multiplies them for
    its utterances; the slower of the two counts. With fewer utterances than threads, the threads of an utterance share
    its weights.
    """
    sharing = max(1, threads // batch)
    weights = products(model) / sharing
    utterances = -(-batch // threads)
    reading = weights * bytes_per_weight / read_bandwidth(int(weights) * bytes_per_weight, threads)
    multiplying = weights * utterances / multiply_add_rate(threads)
    return batch / max(reading, multiplying)


def compile_seconds(weights: str, fresh: bool = True) -> float:
    """Return the seconds to the first sample in a new process, with an empty compilation cache or a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", _COMPILE.format(weights=weights)]
        seconds = [
            float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            for _ in range(1 if fresh else 2)
        ]
    return seconds[-1]


def _seconds_of(run: Callable[[int], object], length: int, busy: int) -> float:
    """Return the time of run(length), which uses `busy` cores; up to five times if other processes used them."""
    seconds = 0.0
    for _ in range(5):
        cpu, began = time.process_time(), time.perf_counter()
        run(length)
        seconds = time.perf_counter() - began
        if (time.process_time() - cpu) / seconds > 0.9 * busy:
            break
    return seconds


def runner(backend: CPUBackend | ReferenceBackend, batch: int) -> Callable[[int], object]:
    """Return a function that generates a number of samples."""

    def run(length: int) -> object:
        return backend.run(State(torch.zeros(batch, 1), None), None, uniforms(range(batch), 0, length))

    return run


def _vocoder(shape: str) -> Callable[[int], object] | None:
    """Return the incremental mode of r9y9's wavenet-vocoder, for one utterance; None if it is not installed."""
    torch.manual_seed(0)
    try:
        model = vocoder(SHAPES[shape]).eval()
    except ImportError:
        return None
    model.make_generation_fast_()

    def run(length: int) -> object:
        with torch.inference_mode():
            return model.incremental_forward(T=length)

    return run


def benchmark_generation(
    shapes: Sequence[str] = tuple(SHAPES),
    rounds: int = 7,
    batch: int = 32,
    seconds: float = 0.5,
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Measure every backend on every shape, alternating between them in each round, so that a slow period affects all.

    Args:
        shapes: Names in `SHAPES`.
        rounds: Number of measurements of each row.
        batch: Utterances in the rows with a batch.
        seconds: Length of each measurement.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    threads = torch.get_num_threads()
    narrow = [w for w in WEIGHTS if w != "float32" and (w != "float16" or HAS_FLOAT16)] if _NARROW in shapes else []
    compiled = {weights: compile_seconds(weights) for weights in ["float32", *narrow]}
    rows = []
    for shape in shapes:
        model = make_model(shape)
        x = _waveform(1, 300)
        with torch.inference_mode():
            expected, _ = model(x)
        cases: dict[tuple[str, str, int, int], Callable[[int], object]] = {}
        for many in (1, batch):
            cases["reference", "float32", many, threads] = runner(ReferenceBackend(model), many)
            for used in dict.fromkeys((1, threads)):
                cases["cpu", "float32", many, used] = runner(CPUBackend(model, used), many)
        for weights in narrow if shape == _NARROW else []:
            cases["cpu", weights, 1, 1] = runner(CPUBackend(model, 1, weights), 1)
        incremental = _vocoder(shape)
        if incremental is not None:
            cases["wavenet-vocoder", "float32", 1, threads] = incremental

        busy = {case: case[3] if case[0] == "cpu" else 1 for case in cases}  # torch may leave cores idle
        lengths = {}
        for case, run in cases.items():
            run(2)  # the first call compiles
            length = 8
            while (taken := _seconds_of(run, length, busy[case])) < seconds / 4:
                length *= 2
            lengths[case] = max(8, int(length * seconds / taken))
        rates: dict[Any, list[float]] = {case: [] for case in cases}
        floors: dict[Any, list[float]] = {case: [] for case in cases}
        for _ in range(rounds):
            for case, run in cases.items():
                _, weights, many, used = case
                size = WEIGHTS[weights].itemsize
                before = floor(model, many, used, size)
                rates[case].append(many * lengths[case] / _seconds_of(run, lengths[case], busy[case]))
                floors[case].append((before + floor(model, many, used, size)) / 2)
        for case in cases:
            backend, weights, many, used = case
            reference = rates["reference", "float32", many, threads]
            error = None
            if backend == "cpu":
                parameters = CPUBackend(model, used, weights).parameters(x.expand(many, -1))
                error = (parameters - expected).abs().max().item()
            row = Row(
                *(shape, backend, weights, many, used),
                rate=statistics.median(rates[case]),
                slowest=min(rates[case]),
                fastest=max(rates[case]),
                real_time=statistics.median(rates[case]) / many / SAMPLE_RATE,
                to_reference=median_ratio(rates[case], reference),
                to_floor=median_ratio(rates[case], floors[case]),
                error=error,
                compile=compiled[weights] if backend == "cpu" else None,
            )
            rows.append(row)
            on_row(row)
    return rows


def same_samples(shape: str = "M20", length: int = 16000) -> dict[str, Any]:
    """Generate the same audio with both backends, and count the uniforms close to a boundary between two classes.

    Returns:
        first_difference: Index of the first sample that differs, or None.
        boundary_cases: Number of uniforms within 1e-6 of a boundary, where rounding may decide the class.
        differing_draws: Number of samples that differ from those drawn from the reference's parameters for the same
            previous samples.
    """
    model = make_model(shape)
    state, noise = State(torch.zeros(1, 1), None), uniforms([0], 0, length)
    generated, _ = CPUBackend(model).run(state, None, noise)
    expected, _ = ReferenceBackend(model).run(state, None, noise)
    differs = (generated != expected)[0].nonzero()
    with torch.inference_mode():
        parameters, _ = model(torch.cat([torch.zeros(1, 1), generated[:, :-1]], dim=1))
        redrawn = model.distribution.sample(parameters, noise)
    boundaries = parameters[0].double().softmax(dim=0).cumsum(dim=0)
    near = (boundaries - noise[0].double()).abs().amin(dim=0) < 1e-6
    return {
        "shape": shape,
        "samples": length,
        "first_difference": int(differs[0]) if len(differs) else None,
        "boundary_cases": int(near.sum()),
        "differing_draws": int((generated != redrawn).sum()),
    }


_COLUMNS = {
    "shape": 5,
    "backend": 15,
    "weights": 8,
    "batch": 5,
    "threads": 7,
    "samples/s": 9,
    "slowest - fastest": 17,
    "x real time": 11,
    "x reference": 11,
    "of floor": 8,
    "error": 7,
    "compile, s": 10,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    cells = [
        *(row.shape, row.backend, row.weights, str(row.batch), str(row.threads)),
        f"{row.rate:.0f}",
        f"{row.slowest:.0f} - {row.fastest:.0f}",
        f"{row.real_time:.3f}",
        f"{row.to_reference:.1f}",
        f"{row.to_floor:.2f}",
        "" if row.error is None else f"{row.error:.0e}",
        "" if row.compile is None else f"{row.compile:.1f}",
    ]
    return line_of(cells, _COLUMNS)
