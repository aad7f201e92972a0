"""Minutes of streaming: memory stays flat, and the state stays what a parallel forward makes of its last samples.

    python -m tests.reliability.long_generation [--minutes 10] [--checkpoint RUN]

At several moments, the last included, the model is run in parallel over exactly the last receptive field, and what
it says of the samples that follow is compared with what the stream says from its state.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import wavenet
from scripts.benchmarks.table import header, line_of
from tests.reliability.models import KINDS, conditions_for, make
from wavenet import WaveNet
from wavenet.generation.cpu import CPUBackend
from wavenet.generation.sampler import Stream, StreamState
from wavenet.generation.uniforms import uniforms
from wavenet.machine import machine_in_words
from wavenet.model import State
from wavenet.nn import Condition

CHUNK = 4000
SEED = 1
MEMORY = 4 * 2**20  # bytes that a stream may grow after the first tenth: ten minutes that it kept would be 19 MB
ROUNDING = 8  # the stream sums in another order than the parallel forward, which is so far from float64; times this
REFERENCE_SHARE = 1 / 120  # of the minutes: the reference backend is so much slower
_COLUMNS = {
    "model": 16, "backend": 9, "audio, s": 8, "x real time": 11, "memory, MiB": 11, "grew, MiB": 9,
    "checks": 6, "drift, nats": 11, "at the end": 10, "bound": 8, "state": 8, "redrawn": 7, "half": 7, "": 6,
}  # fmt: skip


@dataclass
class Moment:
    """A comparison of the stream with the parallel forward, from one chunk.

    Attributes:
        position: Samples made before it.
        drift: Largest difference of a sample's log-probability, nats.
        rounding: That of the parallel forward in float32 from the one in float64.
        state: Largest difference of a layer's state, over the largest number in it.
        half: `drift`, if the parallel forward had half of the receptive field as input: what the check can see.
            Infinite before the whole of it was there.
        redrawn: Share of the samples that the parallel forward would have drawn otherwise.
    """

    position: int
    drift: float
    rounding: float
    state: float
    half: float
    redrawn: float


@dataclass
class Result:
    """A stream and its moments.

    Attributes:
        samples: How many were made.
        seconds: It took, comparisons left out.
        memory: Resident bytes after each chunk.
        moments: The comparisons.
        values: Different samples that were made.
    """

    samples: int
    seconds: float
    memory: list[int]
    moments: list[Moment]
    values: int

    @property
    def growth(self) -> int:
        """Bytes that memory grew by after the first tenth."""
        first = len(self.memory) // 10
        return max(self.memory[first:]) - self.memory[first]

    @property
    def bound(self) -> float:
        """Nats that a stream may differ: float32's own rounding, as the parallel forward has it."""
        return ROUNDING * max(moment.rounding for moment in self.moments)

    def failures(self) -> list[str]:
        """What does not hold, in words."""
        drift = max(moment.drift for moment in self.moments)
        problems = {
            f"memory grew by {self.growth / 2**20:.1f} MiB": self.growth > MEMORY,
            f"the stream is {drift:.1e} nats from the parallel forward": not drift <= self.bound,
            f"a state differs by {max(m.state for m in self.moments):.1e}": not all(
                m.state <= 1e-4 for m in self.moments
            ),
            "other samples would have been drawn": any(m.redrawn > 0.01 for m in self.moments),
            "half of the receptive field would do": any(m.half < 10 * self.bound for m in self.moments),
            f"only {self.values} values were made": self.values < 20,
        }
        return [problem for problem, is_so in problems.items() if is_so]


def resident() -> int:
    """Resident memory of this process, bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(
    model: WaveNet, samples: int, backend: str = "cpu", checks: int = 10, chunk: int = CHUNK, compared: int = 200
) -> Result:
    """Stream, and compare from time to time.

    Args:
        model: The model.
        samples: How many.
        backend: Which makes them.
        checks: Comparisons; the last one is of the last chunk.
        chunk: Samples in a chunk.
        compared: Samples that are compared in each, at the beginning of a chunk.
    """
    conditions = conditions_for(model, samples)
    next(wavenet.stream(model, seconds=None, conditions=conditions, backend=backend, chunk=2))  # compiles
    audio_stream = wavenet.stream(
        model, samples / model.sample_rate, conditions=conditions, seed=SEED, backend=backend, chunk=chunk
    )
    judge = Judge(model, conditions, audio_stream)
    chunks = -(-samples // chunk)
    due = {chunks * (k + 1) // checks - 1 for k in range(checks)}
    result = Result(0, 0.0, [], [], 0)
    inputs = torch.zeros(1, 0)  # the network's inputs before the chunk, as far as they matter
    kept = []  # to be compared when the stream has ended, for that takes memory of its own
    for number in range(chunks):
        before = audio_stream.state
        begun = time.perf_counter()
        made = next(audio_stream)
        result.seconds += time.perf_counter() - begun
        if number in due:
            kept.append((before, inputs, made[:, :compared].clone()))
        inputs = torch.cat([inputs, before.model.previous, made[:, :-1]], dim=1)[:, -judge.reach :]
        result.samples += made.shape[1]
        result.memory.append(resident())
    assert next(audio_stream, None) is None
    result.moments = [judge.compare(*moment) for moment in kept]
    result.values = torch.cat([made for _, _, made in kept], dim=1).unique().numel()
    return result


class Judge:
    """Runs the model in parallel over the last receptive field, in float32 and float64."""

    def __init__(self, model: WaveNet, conditions: dict[str, Any], audio_stream: Stream) -> None:
        self._model, self._exact = model, copy.deepcopy(model).double()
        self._backend = audio_stream._backend
        with torch.inference_mode():
            self._condition = model.condition(conditions, 1)
        self._frame = 1 if model.context is None else model.context.pool
        self.reach = model.receptive_field - 1 + self._frame  # samples before a prediction that are kept

    @torch.inference_mode()
    def compare(self, before: StreamState, inputs: Tensor, made: Tensor) -> Moment:
        """Compare the parameters of the samples (1, T) that were made after a state; `inputs` ends with its past."""
        position, distribution = before.positions[0], self._model.distribution
        now = torch.cat([before.model.previous, made[:, :-1]], dim=1)
        streamed = self._streamed(now, self._of(position, now.shape[1]), before.model)
        past = self._last(inputs, position, self._model.receptive_field - 1)
        parallel, exact = (self._parallel(model, past, now, position) for model in (self._model, self._exact))
        short = self._parallel(
            self._model, self._last(inputs, position, self._model.receptive_field // 2), now, position
        )
        incremental, whole, true, half = (
            distribution.log_prob(p, made.to(p.dtype)).double() for p in (streamed, parallel, exact, short)
        )
        numbers = uniforms([SEED], position, made.shape[1], distribution.num_uniforms)
        bin_width = getattr(distribution, "bin_width", 0.0)  # float32 in another order may round to the next level
        again = distribution.sample(parallel, numbers)
        return Moment(
            position,
            (incremental - whole).abs().max().item(),
            (whole - true).abs().max().item(),
            self._state_error(before.model, past, position) if position else 0.0,
            (incremental - half).abs().max().item() if position >= self._model.receptive_field else float("inf"),
            ((again - made).abs() > bin_width).float().mean().item(),
        )

    def _last(self, inputs: Tensor, position: int, count: int) -> Tensor:
        """The last `count` inputs before a position, and those before them in the context stack's frame."""
        start = max(0, position - count)
        start -= start % self._frame
        return inputs[:, inputs.shape[1] - (position - start) :]

    def _of(self, position: int, length: int) -> Condition | None:
        return None if self._condition is None else self._condition.slice(position, length)

    def _parallel(self, model: WaveNet, past: Tensor, now: Tensor, position: int) -> Tensor:
        """Parameters (1, P, T) of the samples after `now`, from one forward over `past` and `now`."""
        x = torch.cat([past, now], dim=1).to(model.input.conv.weight.dtype)
        condition = self._of(position - past.shape[1], x.shape[1])
        if condition is not None:
            condition = Condition(condition.values.to(x.dtype), condition.hop_length, condition.offset)
        return model(x, condition)[0][..., past.shape[1] :]

    def _streamed(self, now: Tensor, condition: Condition | None, state: State) -> Tensor:
        """The same from the stream's state, computed as the stream computes."""
        if isinstance(self._backend, CPUBackend):
            return self._backend.parameters(now, condition, state)
        layers, incremental = state.layers, []
        for t in range(now.shape[1]):
            at = None if condition is None else condition.slice(t, 1)
            parameters, layers = self._model(now[:, t : t + 1], at, layers)
            incremental.append(parameters)
        return torch.cat(incremental, dim=-1)

    def _state_error(self, state: State, past: Tensor, position: int) -> float:
        """Largest relative difference of a layer's state from the one after the parallel forward over `past`."""
        condition = self._of(position - past.shape[1], past.shape[1])
        _, parallel = self._model(past, condition)
        assert state.layers is not None
        pairs = list(zip(state.layers, parallel, strict=True))
        if self._model.context is not None:  # of the unfinished frame, only the samples in it count
            at = len(self._model.stack.layers) + 1
            begun = self._model.context.pool - int(pairs[at + 1][0])
            pairs[at] = pairs[at][0][:, begun:], pairs[at][1][:, begun:]
        pairs = [(a.double(), b.double()) for a, b in pairs if a.numel()]
        return max(((a - b).abs().max() / b.abs().max().clamp(min=1e-3)).item() for a, b in pairs)


def report(name: str, model: WaveNet, backend: str, result: Result) -> tuple[str, list[str]]:
    """The line of a result, and what failed."""
    audio, failures = result.samples / model.sample_rate, result.failures()
    last = result.moments[-1]
    cells = [
        name, backend, f"{audio:.0f}", f"{audio / result.seconds:.1f}", f"{result.memory[-1] / 2**20:.0f}",
        f"{result.growth / 2**20:.2f}", str(len(result.moments)), f"{max(m.drift for m in result.moments):.1e}",
        f"{last.drift:.1e}", f"{result.bound:.1e}", f"{max(m.state for m in result.moments):.1e}",
        f"{max(m.redrawn for m in result.moments):.4f}", f"{min(m.half for m in result.moments):.1e}",
        "FAILED" if failures else "ok",
    ]  # fmt: skip
    return line_of(cells, _COLUMNS), [f"{name}, {backend}: {failure}" for failure in failures]


def models(checkpoint: str | None) -> Iterator[tuple[str, WaveNet]]:
    """All kinds, the first one trained if there is a checkpoint."""
    if checkpoint is not None:
        yield "trained", wavenet.load(checkpoint).eval()
    for kind in islice(KINDS, 0 if checkpoint is None else 1, None):
        yield kind, make(kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="audio of each stream; the reference makes a 120th")
    parser.add_argument("--checkpoint", help="a trained run, in place of the mu-law model with random weights")
    given = parser.parse_args()
    print(machine_in_words())
    print(header(_COLUMNS))
    failures = []
    for name, model in models(given.checkpoint):
        for backend, share, chunk in (("cpu", 1.0, CHUNK), ("reference", REFERENCE_SHARE, CHUNK // 10)):
            samples = round(60 * given.minutes * share * model.sample_rate)
            line, failed = report(name, model, backend, measure(model, samples, backend, chunk=chunk))
            print(line, flush=True)
            failures += failed
    print("\n".join(failures))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
