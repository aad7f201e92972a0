"""Prepare thousands of damaged recordings: nothing crashes, hangs or swells, and each is used or named.

python -m tests.reliability.fuzz_audio --mutants 10000 --seed 0
"""

import argparse
import collections
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from scripts.benchmarks.table import header, line_of
from tests.conftest import ROOT
from tests.reliability import mutants
from wavenet.audio import LogMel
from wavenet.data import DatasetError, add_features, prepare
from wavenet.data.folder import Folder
from wavenet.machine import machine_in_words

RATE = 16000  # Hz
MEMORY = 2  # what a damaged corpus may take above the imports, as a multiple of what a clean one of as many clips takes
LOADED = 32 * 2**20  # bytes besides: code that only odd rates need, and what the allocator keeps of odd lengths
KINDS = [*(change.__name__ for change in mutants.CONTENTS), *mutants.PLACES]
COLUMNS = {"kind": 16, "mutants": 8, "used": 8, "skipped": 8}


@dataclass
class Result:
    """What came of all mutants.

    Attributes:
        made: Mutants by kind.
        used: Of these, how many became utterances.
        skipped: And how many were named with a reason.
        failures: What should not have been, a line each.
        imports: Memory of a process that has only imported what it needs, bytes.
        clean: The most memory that a batch of clean clips took above the imports', bytes.
        peak: The same of mutants.
        seconds: Preparing the mutants took.
    """

    made: collections.Counter = field(default_factory=collections.Counter)
    used: collections.Counter = field(default_factory=collections.Counter)
    skipped: collections.Counter = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    imports: int = 0
    clean: int = 0
    peak: int = 0
    seconds: float = 0.0


def fuzz(count: int, seed: int = 0, batch: int = 1000, timeout: float = 300) -> Result:
    """Make, prepare and check mutants, a folder of `batch` at a time."""
    result = Result()
    pool = mutants.clips(seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "clean"
        root.mkdir()
        for number, (ending, data) in enumerate(mutants.clips(seed, min(batch, count))):
            (root / f"{number:05d}.{ending}").write_bytes(data)
        outcome = _prepare_in_a_child(root, timeout)
        if isinstance(outcome, str) or outcome["skipped"] or outcome["faults"]:
            result.failures.append(f"clean clips: {outcome if isinstance(outcome, str) else outcome['skipped']}")
            return result
        result.imports, result.clean = outcome["imports"], outcome["memory"]
    for first in range(0, count, batch):
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "mutants"
            root.mkdir()
            kinds = _make(root, range(first, min(first + batch, count)), seed, pool)
            _judge(result, f"batch {first // batch}", kinds, _prepare_in_a_child(root, timeout))
    if result.peak > MEMORY * result.clean + LOADED:
        result.failures.append(f"{result.peak} bytes of memory, {result.clean} for clean clips")
    return result


def _make(root: Path, numbers: range, seed: int, pool: list[mutants.Clip]) -> dict[str, str]:
    """Mutants, by the id under which they must turn up; their kinds."""
    kinds = {}
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        kind = KINDS[number % len(KINDS)]
        name = mutants.make(root, number, kind, rng, rng.choice(pool))
        if name is not None:
            kinds[name] = kind
    return kinds


def _prepare_in_a_child(root: Path, timeout: float) -> dict | str:
    """What `main_of_child` says of a folder; or how the child ended without a word."""
    command = [sys.executable, "-c", "from tests.reliability.fuzz_audio import main_of_child as m; m()", str(root)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"hangs: not done after {timeout:g} s"
    if done.returncode or "Traceback" in done.stderr:
        return f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def main_of_child() -> None:
    """Prepare the folder that is named on the command line, and its mel spectrograms; print what came of it."""
    root = Path(sys.argv[1])
    before, start = _peak_memory(), time.perf_counter()
    try:
        corpus = prepare(Folder(root), RATE, root.parent / "cache", num_processes=0, progress=False)
        corpus = add_features(corpus, [LogMel(RATE)], num_processes=0, progress=False)
    except DatasetError as error:
        raise SystemExit(f"nothing usable: {error}") from error
    outcome = {"imports": before, "memory": _peak_memory() - before, "seconds": time.perf_counter() - start}
    faults = []
    for index, utterance in enumerate(corpus.utterances):
        samples, info = corpus.read(index), soundfile.info(utterance.path)
        frames = corpus.conditions(index)["mel"]
        if not (info.samplerate == RATE and info.channels == 1 and len(samples) == utterance.num_samples > 0):
            faults.append(f"{utterance.id}: {info}")
        if not (samples.abs() <= 1).all() or not frames.isfinite().all():
            faults.append(f"{utterance.id}: samples or frames out of range")
        if frames.shape[1] != math.ceil(len(samples) / 256):
            faults.append(f"{utterance.id}: {frames.shape[1]} frames of {len(samples)} samples")
    lines = "\n".join(str(skipped) for skipped in corpus.skipped).encode().decode()
    if len(lines.splitlines()) != len(corpus.skipped):
        faults.append("a report of skipped recordings has not a line for each")
    outcome |= {"used": [u.id for u in corpus.utterances], "skipped": [(s.name, s.reason) for s in corpus.skipped]}
    print(json.dumps(outcome | {"faults": faults}))


def _peak_memory() -> int:
    """The most memory that this process has had resident, bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, the other system with mkfifo


def _judge(result: Result, batch: str, kinds: dict[str, str], outcome: dict | str) -> None:
    result.made.update(kinds.values())
    if isinstance(outcome, str):
        result.failures.append(f"{batch}: {outcome}")
        return
    result.peak = max(result.peak, outcome["memory"])
    result.seconds += outcome["seconds"]
    result.failures += [f"{batch}: {fault}" for fault in outcome["faults"]]
    named = collections.Counter([*outcome["used"], *(name for name, _ in outcome["skipped"])])
    for name, kind in kinds.items():
        if named[name] != 1:
            result.failures.append(f"{batch}: {name!r} ({kind}) is used or named {named[name]} times")
    result.failures += [f"{batch}: {name!r} is nobody's" for name in named.keys() - kinds.keys()]
    result.failures += [f"{batch}: {name!r} without a reason" for name, reason in outcome["skipped"] if not reason]
    result.used.update(kinds[name] for name in outcome["used"] if name in kinds)
    result.skipped.update(kinds[name] for name, _ in outcome["skipped"] if name in kinds)


def main() -> int:
    """Run from the command line; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(machine_in_words())
    print(f"soundfile {soundfile.__version__}, {soundfile.__libsndfile_version__} of libsndfile; seed {given.seed}\n")
    start = time.perf_counter()
    result = fuzz(given.mutants, given.seed)
    print(header(COLUMNS))
    for kind in [*KINDS, "all"]:
        counts = (c.total() if kind == "all" else c[kind] for c in (result.made, result.used, result.skipped))
        print(line_of([kind.replace("_", " "), *map(str, counts)], COLUMNS))
    print(
        f"\nmemory: {result.peak / 2**20:.0f} MiB above the imports' {result.imports / 2**20:.0f}, "
        f"{result.clean / 2**20:.0f} for clean clips (at most {MEMORY}x that and {LOADED / 2**20:.0f} MiB); "
        f"of the whole process {(result.imports + result.peak) / max(1, result.imports + result.clean):.2f}x"
        f"\ntime: {result.seconds:.0f} s of preparing, {time.perf_counter() - start:.0f} in all"
        f"\nfailures: {len(result.failures)}"
    )
    print(*result.failures[:50], sep="\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
