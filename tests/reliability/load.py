"""Many streams at once, in threads and in processes: each makes what it makes alone, to the bit.

    python -m tests.reliability.load [--threads 16] [--processes 4] [--samples 2000]

Streams of one model have their own seeds, speakers, temperatures and chunks, and are
- run by a thread each, begun at the same moment;
- handed from thread to thread, a chunk at a time;
- run beside streams that are left half way, and others that fail;
- run in processes that begin at the same moment with nothing compiled, each with a kind of weights of its own.
"""

import argparse
import gc
import hashlib
import itertools
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import wavenet
from scripts.benchmarks.table import header, line_of
from tests.reliability.long_generation import resident
from tests.reliability.models import KINDS, conditions_for, make
from wavenet import WaveNet
from wavenet.generation.sampler import Stream
from wavenet.machine import machine_in_words
from wavenet.native.instructions import HAS_FLOAT16

WEIGHTS = ["float32", "bfloat16", "int8", *(["float16"] if HAS_FLOAT16 else [])]
LEAK = 8 * 2**20  # bytes that rounds of streams may leave behind; a round's streams of a default model take more
_COLUMNS = {"what": 40, "model": 16, "backend": 9, "streams": 7, "seconds": 7, "alone": 7, "": 6}


@dataclass(frozen=True)
class Case:
    """One stream.

    Attributes:
        number: Decides its seed, speaker, temperature and chunk.
        samples: How many it makes.
        backend: Which makes them.
        weights: See `Stream`.
    """

    number: int
    samples: int
    backend: str = "cpu"
    weights: str = "float32"

    def stream(self, model: WaveNet) -> Stream:
        """Begin it; every third one goes on from a prompt."""
        rate, prompted = model.sample_rate, self.number % 3 == 2
        prompt = torch.sin(torch.arange(300) * (0.05 + 0.01 * self.number)) / 2 if prompted else None
        threads = 1 + self.number % 2  # two threads share the layers of an utterance
        num = 1 + self.number % 4 // 3
        covered = self.samples + (300 if prompted else 0)
        return wavenet.stream(
            model,
            self.samples / rate,
            num,
            conditions=conditions_for(model, covered, self.number),
            seed=100 * self.number,
            temperature=(1.0, 0.8, 0.5, 1.2)[self.number % 4],
            prompt=prompt,
            chunk=(64, 100, 37, 1000)[self.number % 4],
            backend=self.backend,
            threads=threads if self.backend == "cpu" else None,
            weights=self.weights,
        )


def digest(chunks: Iterable[torch.Tensor]) -> str:
    """A short name of the audio, which changes with every bit of it."""
    audio = torch.cat(list(chunks), dim=1)
    return hashlib.sha256(audio.numpy().tobytes()).hexdigest()[:16]


def alone(model: WaveNet, cases: list[Case]) -> list[str]:
    """What each makes alone, one after the other."""
    return [digest(case.stream(model)) for case in cases]


def in_threads(model: WaveNet, cases: list[Case]) -> list[str]:
    """All at once, each begun and run by a thread of its own."""
    gate = threading.Barrier(len(cases))

    def work(case: Case) -> str:
        gate.wait(60)
        return digest(case.stream(model))

    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(work, cases))


def handed_round(model: WaveNet, cases: list[Case]) -> list[str]:
    """All at once, but any thread makes the next chunk of any stream, as in a server."""
    streams = [case.stream(model) for case in cases]
    made: list[list[torch.Tensor]] = [[] for _ in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        going = list(range(len(cases)))
        while going:
            chunks = list(pool.map(lambda k: next(streams[k], None), going))
            for k, chunk in zip(going, chunks, strict=True):
                if chunk is not None:
                    made[k].append(chunk)
            going = [k for k, chunk in zip(going, chunks, strict=True) if chunk is not None]
    return [digest(chunks) for chunks in made]


def among_others(model: WaveNet, cases: list[Case]) -> list[str]:
    """Every second one in peace; those between them are left half way, lose their listener, or are begun wrongly.

    Returns:
        What the undisturbed ones made, and for the others what they make when begun again afterwards.
    """
    gate = threading.Barrier(len(cases))

    def work(own: Case) -> str | None:
        gate.wait(60)
        if own.number % 2 == 0:
            return digest(own.stream(model))
        for attempt in range(3):
            reason = (attempt + own.number // 2) % 3
            try:
                for _ in own.stream(model):
                    if reason == 0:
                        break  # left half way
                    if reason == 1:
                        raise ConnectionError  # whoever listens is gone
                    wavenet.stream(model, temperature=-1.0, backend=own.backend)
                    raise AssertionError("a negative temperature was not refused")
            except (ConnectionError, ValueError):
                pass
        return None

    with ThreadPoolExecutor(len(cases)) as pool:
        made = list(pool.map(work, cases))
    again = alone(model, cases[1::2])
    return [again[k // 2] if digests is None else digests for k, digests in enumerate(made)]


def left_behind(model: WaveNet, cases: list[Case], rounds: int = 4) -> tuple[int, int, int]:
    """Begin streams and drop them, again and again.

    Returns:
        Streams, threads and bytes that are still there.
    """
    sizes, threads, alive = [], set(threading.enumerate()), []
    for _ in range(rounds):
        streams = [case.stream(model) for case in cases]
        for audio_stream in streams:
            next(audio_stream)
        alive += [weakref.ref(audio_stream._backend) for audio_stream in streams]
        del streams, audio_stream
        gc.collect()
        sizes.append(resident())
    deadline = time.monotonic() + 10
    while (new := set(threading.enumerate()) - threads) and time.monotonic() < deadline:
        time.sleep(0.01)  # a pool's threads end a moment after it
    return sum(r() is not None for r in alive), len(new), sizes[-1] - sizes[1]


def in_a_process(tiny: bool, kind: str, cases: list[Case], begin: float) -> tuple[list[str], int]:
    """In a process of its own, from a moment on; with as many threads as cases.

    Returns:
        The digests, and how many of the loop's compilations were found on disk: two with narrower weights, as the one
            for float32 checks the network.
    """
    from wavenet.generation.cpu_kernels import run

    model = make(kind, tiny)
    time.sleep(max(0, begin - time.time()))
    made = in_threads(model, cases)
    return made, sum(run.stats.cache_hits.values())


def in_processes(
    processes: int, cases: list[Case], tiny: bool = False, delay: float = 15.0
) -> list[tuple[list[str], int]]:
    """The same cases in processes that begin together.

    Process k takes weights of kind k, so that the processes compile different codes of the same functions.

    Args:
        processes: How many.
        cases: Of each process.
        tiny: Whether the model is.
        delay: Seconds until they begin, which is enough for their imports.

    Returns:
        What `in_a_process` returned, for each process.
    """
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        own = [of_weights(cases, k) for k in range(processes)]
        return list(pool.map(partial(in_a_process, tiny, "mu-law"), own, itertools.repeat(time.time() + delay)))


def with_nothing_compiled(processes: int, cases: list[Case]) -> list[tuple[list[str], int]]:
    """`in_processes` twice: with nothing compiled, and then with what the first ones compiled."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache  # the processes', for numba reads it when it is imported
        try:
            return in_processes(processes, cases) + in_processes(processes, cases)
        finally:
            os.environ.pop("NUMBA_CACHE_DIR") if before is None else os.environ.update(NUMBA_CACHE_DIR=before)


def of_weights(cases: list[Case], number: int) -> list[Case]:
    """The cases with the kind of weights of that number."""
    return [Case(c.number, c.samples, c.backend, WEIGHTS[number % len(WEIGHTS)]) for c in cases]


def hits_of(processes: int) -> list[int]:
    """How many compilations each of the processes finds, once all are on disk; see `in_a_process`."""
    return [1 if WEIGHTS[k % len(WEIGHTS)] == "float32" else 2 for k in range(processes)]


WAYS: dict[str, Callable[[WaveNet, list[Case]], list[str]]] = {
    "a thread each": in_threads,
    "handed from thread to thread": handed_round,
    "beside streams that stop or fail": among_others,
}


class _Table:
    """Prints what was found, and remembers what failed."""

    def __init__(self) -> None:
        self.failed = False
        print(machine_in_words())
        print(header(_COLUMNS))

    def line(self, what: str, model: str, backend: str, streams: int, seconds: list[float], right: bool) -> None:
        self.failed |= not right
        times = [f"{s:.1f}" for s in seconds]
        cells = [what, model, backend, str(streams), *times, *[""] * (2 - len(times)), "ok" if right else "FAILED"]
        print(line_of(cells, _COLUMNS), flush=True)


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(*arguments), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--samples", type=int, default=2000, help="of each stream; the reference makes a tenth")
    given = parser.parse_args()
    table = _Table()
    for kind in KINDS:
        model = make(kind)
        for backend, samples in (("cpu", given.samples), ("reference", given.samples // 10)):
            cases = [Case(k, samples, backend) for k in range(given.threads)]
            expected, by_itself = _timed(alone, model, cases)
            for name, way in WAYS.items():
                made, seconds = _timed(way, model, cases)
                table.line(name, kind, backend, len(cases), [seconds, by_itself], made == expected)
            assert len(set(expected)) == len(cases)
    model = make("mu-law")
    cases = [Case(k, given.samples) for k in range(given.threads)]
    (streams, threads, size), seconds = _timed(left_behind, model, cases)
    found = f"left behind: {streams} streams, {threads} threads, {size / 2**20:.1f} MiB"
    table.line(found, "mu-law", "cpu", 4 * len(cases), [seconds], not streams and not threads and size < LEAK)
    expected = [alone(model, of_weights(cases, k)) for k in range(given.processes)] * 2
    results, seconds = _timed(with_nothing_compiled, given.processes, cases)
    found = [f"{given.processes} processes, nothing compiled", f"{given.processes} processes, all compiled"]
    for k, name in enumerate(found):
        mine = slice(k * given.processes, (k + 1) * given.processes)
        right = [made for made, _ in results[mine]] == expected[mine]
        right &= k == 0 or [hits for _, hits in results[mine]] == hits_of(given.processes)
        table.line(name, "mu-law", "cpu", given.processes * len(cases), [seconds] if k else [], right)
    sys.exit(table.failed)


if __name__ == "__main__":
    main()
