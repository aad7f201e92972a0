"""Benchmark of training: predicted samples per second, and how close this is to the machine's limit.

Each measurement runs in its own process (this module with a case as its argument), because the allocator's settings
and the peak memory are those of a process.
"""

import copy
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from torch import Tensor

from scripts.benchmarks.floors import multiply_add_rate
from scripts.benchmarks.generation import SAMPLE_RATE, SHAPES, products
from scripts.benchmarks.plain import VOCODER, PlainConv1d, vocoder, vocoder_log_prob
from scripts.benchmarks.process import measure_in_process
from scripts.benchmarks.table import header, line_of, median_ratio
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet
from wavenet.training import CPUNetwork, WaveNetTraining, keep_freed_memory

TRAINING_SHAPES: dict[str, dict[str, Any]] = SHAPES | {
    "1024": {"residual_channels": 64, "gate_channels": 128, "skip_channels": 1024, "num_cycles": 4},
    "default": {  # configs/model/small.yaml
        "residual_channels": 32,
        "gate_channels": 64,
        "skip_channels": 64,
        "kernel_size": 4,
        "dilation_cycle": 4,
        "num_cycles": 3,
    },
}
_LEARNING_RATE = 1e-3
_KINK = 1e-5  # larger than float32's rounding of the skips, whose standard deviation is about 1
_MIN_STEPS = 3  # steps measured, after one step of warm-up


@dataclass(frozen=True)
class Case:
    """The configuration of one measurement.

    Attributes:
        shape: Shape of the network, a name in `TRAINING_SHAPES`.
        network: "wavenet", the implementation that training uses on this device; "wavenet, PyTorch", the one of
            PyTorch modules; "conv1d", the baseline in `plain`; or "wavenet-vocoder", r9y9's package from PyPI.
        loop: "hand" for a plain training loop, or "lightning" for the trainer that the commands use.
        precision: "32-true" or "bf16-mixed".
        compile: Whether `torch.compile` is used.
        keeps_memory: Whether glibc is set to keep freed memory, as `wavenet train` does on a CPU.
        checkpointing: Whether activations are recomputed in the backward pass.
        device: "cpu" or "cuda".
        batch: Segments per step.
        segment: Samples per segment, all predicted.
    """

    shape: str
    network: str = "wavenet"
    loop: str = "hand"
    precision: str = "32-true"
    compile: bool = False
    keeps_memory: bool = True
    checkpointing: bool = False
    device: str = "cpu"
    batch: int = 4
    segment: int = 16000


@dataclass
class Row:
    """One line of the table.

    Attributes:
        case: Configuration of the measurement.
        rate: Predicted samples per second, median of the rounds.
        slowest: Lowest rate of the rounds.
        fastest: Highest rate of the rounds.
        to_conv1d: Rate relative to the baseline's with the same memory setting, median of the rounds' ratios.
        to_vocoder: Rate relative to wavenet-vocoder's, likewise; None if it is not installed.
        of_matmul: Multiplications per second relative to those of torch's matrix product of the same precision,
            measured just before; a step has three times the multiplications of the forward pass.
        of_peak: The same relative to the processor's peak rate of multiply-add operations; None on a GPU.
        memory: Peak memory during training, minus the memory in use before, in bytes.
        error: Largest relative error of a gradient in float32, compared with the PyTorch modules in float64.
    """

    case: Case
    rate: float
    slowest: float
    fastest: float
    to_conv1d: float
    to_vocoder: float | None
    of_matmul: float
    of_peak: float | None
    memory: float
    error: float | None


def make(case: Case) -> tuple[torch.nn.Module, Callable[[Tensor], Tensor]]:
    """Return the network, and a function from the waveform to the log-probabilities."""
    sizes = TRAINING_SHAPES[case.shape]
    torch.manual_seed(0)
    if case.network == "conv1d":
        plain = PlainConv1d(**sizes)
        return plain, plain.log_prob
    if case.network == VOCODER:
        network = vocoder(sizes, dropout=0.0)
        return network, vocoder_log_prob(network)
    model = WaveNet(MuLawCategorical(embedding_channels=sizes["residual_channels"]), SAMPLE_RATE, **sizes)
    model.stack.gradient_checkpointing = case.checkpointing
    if case.network == "wavenet" and case.device == "cpu" and not case.compile:
        return model, CPUNetwork(model).log_prob
    return model, lambda waveform: model.log_prob(waveform)[0]


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Run steps of AdamW for a time in seconds, after one step of warm-up.

    Returns:
        "rate" (predicted samples per second, median of the steps) and "memory" (bytes).
    """
    if case.keeps_memory and case.device == "cpu":
        keep_freed_memory()
    device = torch.device(case.device)
    waveform = torch.rand(case.batch, case.segment, generator=torch.Generator().manual_seed(1)).to(device) * 2 - 1
    before = _memory(device)
    durations = (_with_lightning if case.loop == "lightning" else _by_hand)(case, waveform, seconds)
    rate = case.batch * case.segment / statistics.median(durations)
    return {"rate": rate, "memory": _peak_memory(device) - before}


def _by_hand(case: Case, waveform: Tensor, seconds: float) -> list[float]:
    network, log_prob = make(case)
    network.to(waveform.device)
    log_prob = torch.compile(log_prob) if case.compile else log_prob
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, fused=True)
    durations: list[float] = []
    while len(durations) < 1 + _MIN_STEPS or sum(durations[1:]) < seconds:
        _wait(waveform.device)
        began = time.perf_counter()
        with torch.autocast(case.device, torch.bfloat16, enabled=case.precision == "bf16-mixed"):
            loss = -log_prob(waveform).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _wait(waveform.device)
        durations.append(time.perf_counter() - began)
    return durations[1:]


class _Clock(L.Callback):
    """Records when steps end, and is a data loader that repeats one batch until enough steps are measured."""

    def __init__(self, batch: dict[str, Any], seconds: float) -> None:
        self._batch, self._seconds = batch, seconds
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any, **more: Any) -> None:
        _wait(pl_module.device)
        self.ends.append(time.perf_counter())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while len(self.ends) < 1 + _MIN_STEPS or self.ends[-1] - self.ends[0] < self._seconds:
            yield self._batch


def _with_lightning(case: Case, waveform: Tensor, seconds: float) -> list[float]:
    model, _ = make(case)
    assert isinstance(model, WaveNet)
    module = WaveNetTraining(model, lr=_LEARNING_RATE, compile=case.compile, gradient_checkpointing=case.checkpointing)
    batch = {"waveform": waveform, "predicted": torch.ones_like(waveform, dtype=torch.bool), "conditions": {}}
    clock = _Clock(batch, seconds)
    trainer = L.Trainer(
        accelerator="gpu" if case.device == "cuda" else "cpu",
        devices=1,
        precision=case.precision,  # pyright: ignore[reportArgumentType]
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(module, clock)
    return [after - before for before, after in pairwise(clock.ends)]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    return _peak_memory(device)


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def gradient_error(shape: str, network: str = "wavenet", samples: int = 2500) -> float:
    """Return the largest relative error of a gradient in float32, compared with the PyTorch modules in float64.

    Samples are left out of the loss where rounding decides on which side of its kink a ReLU of the head is.
    """
    model, log_prob = make(Case(shape, network))
    waveform = torch.rand(2, samples, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert isinstance(model, WaveNet)
    exact_model = copy.deepcopy(model).double()
    predicted = _away_from_kinks(exact_model, waveform.double())
    (log_prob(waveform) * predicted).sum().backward()
    (exact_model.log_prob(waveform.double())[0] * predicted).sum().backward()
    native = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
    exact = {name: p.grad for name, p in exact_model.named_parameters() if p.grad is not None}
    return max(((native[name] - expected).norm() / expected.norm()).item() for name, expected in exact.items())


def _away_from_kinks(model: WaveNet, waveform: Tensor) -> Tensor:
    """Return where no ReLU of the head has an input within _KINK of 0: (B, T), for a waveform (B, T) in float64."""
    far = torch.ones_like(waveform, dtype=torch.bool)

    def look(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        far.logical_and_((inputs[0].abs() > _KINK).all(dim=1))

    hooks = [module.register_forward_pre_hook(look) for module in model.head if isinstance(module, torch.nn.ReLU)]
    with torch.no_grad():
        model.log_prob(waveform)
    for hook in hooks:
        hook.remove()
    return far


def matmul_rate(device: str, precision: str) -> float:
    """Return the multiply-add operations per second of torch's matrix product."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    size = 8192 if device == "cuda" else 2048
    a, b = torch.ones(size, size, dtype=dtype, device=device), torch.ones(size, size, dtype=dtype, device=device)
    durations = []
    for _ in range(6):
        _wait(a.device)
        began = time.perf_counter()
        torch.mm(a, b)
        _wait(a.device)
        durations.append(time.perf_counter() - began)
    return size**3 / min(durations)


def largest_batch(shape: str, segment: int, checkpointing: bool, seconds: float = 0.1) -> int:
    """Return the largest batch, a power of two, that a GPU trains in bfloat16 without running out of memory."""
    batch, largest = 1, 0
    case = Case(shape, precision="bf16-mixed", checkpointing=checkpointing, device="cuda", segment=segment)
    while run(replace(case, batch=batch), seconds) is not None:
        batch, largest = 2 * batch, batch
    return largest


def default_rate(segment: int, seconds: float) -> float:
    """Return the predicted samples per second of the default model in training on a CPU."""
    result = run(Case("default", loop="lightning", batch=1, segment=segment), seconds)
    assert result is not None
    return result["rate"]


def cases_of(shape: str, device: str, batch: int, segment: int, compiled: bool) -> list[Case]:
    """Return all cases that are measured for a shape on a device."""
    size = {"device": device, "batch": batch, "segment": segment}
    others = ["conv1d"] + [VOCODER] * _installed("wavenet_vocoder")
    if device == "cuda":
        narrow = {"precision": "bf16-mixed", **size}
        cases = [Case(shape, compile=on, **narrow) for on in (True, False)]
        cases += [Case(shape, loop="lightning", compile=True, **narrow), Case(shape, checkpointing=True, **narrow)]
        return cases + [Case(shape, network, **narrow) for network in others]
    cases = [Case(shape, loop="lightning", **size)]
    for keeps in (True, False):
        cases += [Case(shape, network, keeps_memory=keeps, **size) for network in ("wavenet", *others)]
    cases.append(Case(shape, "wavenet, PyTorch", **size))
    return cases + [Case(shape, "wavenet, PyTorch", compile=True, **size)] * compiled


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def run(case: Case, seconds: float) -> dict[str, Any] | None:
    """Measure a case in its own process; return None if it ran out of GPU memory."""
    environment = os.environ | {"WAVENET_BENCHMARK_THREADS": str(torch.get_num_threads())}
    try:
        return measure_in_process("scripts.benchmarks.training", case, seconds, environment)
    except RuntimeError as error:
        if "OutOfMemoryError" in str(error):
            return None
        raise


def benchmark_training(
    shapes: Sequence[str],
    device: str = "cpu",
    rounds: int = 3,
    batch: int = 4,
    segment: int = 16000,
    seconds: float = 3.0,
    compiled: bool = False,
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Measure every network on every shape, alternating between them in each round, so that a slow period affects all.

    Args:
        shapes: Names in `TRAINING_SHAPES`.
        device: "cpu" or "cuda".
        rounds: Number of measurements of each row.
        batch: Segments per step.
        segment: Samples per segment, all predicted.
        seconds: Minimum length of a measurement, which has at least _MIN_STEPS steps.
        compiled: Whether `torch.compile` is also measured on a CPU, which takes minutes.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    rows = []
    for shape in shapes:
        cases = cases_of(shape, device, batch, segment, compiled)
        model, _ = make(Case(shape))
        assert isinstance(model, WaveNet)
        arithmetic = 3 * products(model)
        results: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                matmul = matmul_rate(device, case.precision)
                peak = multiply_add_rate(torch.get_num_threads()) * torch.get_num_threads() if device == "cpu" else None
                result = run(case, seconds)
                if result is None:
                    raise RuntimeError(f"{case} does not fit into the GPU's memory; use a smaller --batch")
                results[case].append(result | {"matmul": matmul, "peak": peak})
        exact = ["wavenet", "wavenet, PyTorch"] if device == "cpu" else []
        errors = {network: gradient_error(shape, network) for network in exact}
        for case in cases:
            rates = _of(results[case], "rate")
            ratios = {
                other.network: median_ratio(rates, _of(results[other], "rate"))
                for other in cases
                if other.network in ("conv1d", VOCODER) and other.keeps_memory == case.keeps_memory
            }
            row = Row(
                case,
                rate=statistics.median(rates),
                slowest=min(rates),
                fastest=max(rates),
                to_conv1d=ratios["conv1d"],
                to_vocoder=ratios.get(VOCODER),
                of_matmul=arithmetic * median_ratio(rates, _of(results[case], "matmul")),
                of_peak=arithmetic * median_ratio(rates, _of(results[case], "peak")) if device == "cpu" else None,
                memory=statistics.median(_of(results[case], "memory")),
                error=None if case.compile else errors.get(case.network),
            )
            rows.append(row)
            on_row(row)
    return rows


def _of(results: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [result[name] for result in results]


_COLUMNS = {
    "shape": 5,
    "network": 16,
    "loop": 9,
    "precision": 10,
    "compile": 7,
    "keeps memory": 12,
    "batch x segment": 15,
    "samples/s": 9,
    "slowest - fastest": 17,
    "x conv1d": 8,
    "x vocoder": 9,
    "of matmul": 9,
    "of peak": 7,
    "memory, MB": 10,
    "error": 5,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    case = row.case
    cells = [
        *(case.shape, case.network, case.loop, case.precision, "yes" if case.compile else "no"),
        "yes" if case.keeps_memory else "no",
        f"{case.batch} x {case.segment}",
        f"{row.rate:.0f}",
        f"{row.slowest:.0f} - {row.fastest:.0f}",
        f"{row.to_conv1d:.2f}",
        "" if row.to_vocoder is None else f"{row.to_vocoder:.2f}",
        f"{row.of_matmul:.2f}",
        "" if row.of_peak is None else f"{row.of_peak:.2f}",
        f"{row.memory / 1e6:.0f}",
        "" if row.error is None else f"{row.error:.0e}",
    ]
    return line_of(cells, _COLUMNS)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["WAVENET_BENCHMARK_THREADS"]))
    print(json.dumps(measure(Case(**json.loads(sys.argv[1])), float(sys.argv[2]))))
