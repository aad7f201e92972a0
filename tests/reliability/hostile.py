"""Hostile checkpoints and configs: everything that should be refused is, in one line, and does nothing.

    python -m tests.reliability.hostile [--only WORDS] [--every 1] [--mutants 300]

Each case is given to `wavenet.load` or to `wavenet train resume=` in a process of its own, which is forked when all
is imported. What it does is watched: programs that it starts, files that it writes, a file that the payloads would
make, time, and memory. Then bytes of good files are flipped at random: these are refused in the same manner, or load.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import wavenet
from scripts.benchmarks.table import header, line_of
from tests.conftest import PROMPTS, ROOT, TINY
from tests.reliability.hostile_corpus import GOOD, Case, corpus
from wavenet.checkpoint import CheckpointError
from wavenet.machine import machine_in_words

SECONDS, MEGABYTES, LETTERS = 1.0, 200, 300  # that a refusal may take: wall clock, growth of the peak, its line
MUTANTS = "mutants"
_TRIES = 4  # for what took too long; the fastest counts
_PATIENCE = 20  # seconds until a child is killed
_COLUMNS = {"kind": 24, "cases": 5, "refused": 7, "failed": 6, "worst s": 8, "CPU s": 8, "worst MB": 8}
_PROGRAMS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "webbrowser.open",
    "ctypes.dlopen", "code.__new__",
)  # fmt: skip
_CHANGES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "tempfile.mkstemp", "tempfile.mkdtemp", "shutil.rmtree", "shutil.copyfile", "shutil.move",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        case: The case.
        refused: Whether it was refused as it should be, with CheckpointError or exit code 2.
        output: What was printed.
        seconds: Wall clock.
        cpu: Seconds of the processor.
        megabytes: Growth of the process's peak memory.
        did: What else it did that it should not.
    """

    case: Case
    refused: bool
    message: str
    seconds: float
    cpu: float
    megabytes: float
    did: list[str] = field(default_factory=list)

    def failures(self, timed: bool = True) -> list[str]:
        """Why it is not as it should be; a mutant may load as well, for a flipped bit can be another number."""
        if self.case.kind == MUTANTS and not self.refused and not self.message:
            return []
        if self.case.kind == GOOD:
            return [f"refused: {self.message}"] if self.refused or self.message else []
        found = list(self.did)
        if not self.refused:
            found.append(f"not refused: {self.message[-300:] or 'accepted'}")
        elif self.message.count("\n") or len(self.message) > LETTERS or not _names_the_file(self.message, self.case):
            found.append(f"not one clear line: {self.message}")
        if timed and self.seconds > SECONDS:
            found.append(f"{self.seconds:.2f} s")
        if self.megabytes > MEGABYTES:
            found.append(f"{self.megabytes:.0f} MB")
        return found


def judge(cases: Iterable[Case], canary: Path, watched: Path) -> list[Outcome]:
    """Try all cases, one after the other.

    Args:
        cases: The cases, each of whose files is there when it is asked for.
        canary: The file that the payloads would make.
        watched: The folder in which nothing may change; the children work in it.
    """
    outcomes = []
    for case in cases:
        place = case.path if case.path.is_dir() else case.path.parent
        before = _snapshot(watched) | _snapshot(place)
        outcome = _in_child(case, watched)
        for _ in range(_TRIES - 1):
            if outcome.refused and outcome.seconds > SECONDS:  # was the machine busy with something else?
                outcome = min(outcome, _in_child(case, watched), key=lambda tried: tried.seconds)
        if canary.exists():
            outcome.did.append("ran the payload")
            canary.unlink()
        if outcome.refused:
            after = _snapshot(watched) | _snapshot(place)
            outcome.did += [f"changed {path}" for path in sorted(before.items() ^ after.items())][:3]  # type: ignore
        outcomes.append(outcome)
    return outcomes


def mutants(good_model: Path, good_run: Path, folder: Path, count: int, seed: int = 0) -> Iterable[Case]:
    """Good files with a few bytes flipped, cut out or doubled."""
    rng = random.Random(seed)
    files = ["model/config.json", "model/model.safetensors", "run/checkpoints/last.ckpt", "run/config.yaml"]
    for number in range(count):
        place = folder / f"m{number:04d}"
        shutil.copytree(good_model, place / "model")
        shutil.copytree(good_run, place / "run")
        name = files[number % len(files)]
        data = bytearray((place / name).read_bytes())
        reach = len(data) if rng.random() < 0.5 else min(len(data), 5000)  # most of a file is weights
        for _ in range(rng.choice([1, 1, 3, 10])):
            spot = rng.randrange(min(reach, len(data)))
            spot = spot if rng.random() < 0.7 else len(data) - 1 - spot
            way = rng.random()
            if way < 0.7:
                data[spot] ^= 1 << rng.randrange(8)
            elif way < 0.85:
                del data[spot : spot + rng.randrange(1, 20)]
            else:
                data[spot:spot] = data[spot : spot + rng.randrange(1, 20)]
        (place / name).write_bytes(data)
        command = "resume" if (name.startswith("run/") and number % 8 > 3) or name.endswith("yaml") else "load"
        path = place / ("model" if name.startswith("model") else "run")
        yield Case(MUTANTS, f"{number} of {name}", command, path)
        shutil.rmtree(place)


def make_good(folder: Path) -> tuple[Path, Path]:
    """Train for two steps on real speech; returns a saved model and the run."""
    speech = folder / "speech"
    for speaker in ("allison", "carlo"):
        (speech / speaker).mkdir(parents=True)
        for number in (1, 2, 3):
            shutil.copy(PROMPTS / speaker / f"{speaker}_{number:03d}.flac", speech / speaker)
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none"]
    settings += ["model/conditioners=[speaker,mel]", "model.conditioners.mel.hidden_channels=4", "num_workers=0"]
    settings += ["samples.seconds=0", "samples.final_seconds=0", "trainer.precision=bf16-mixed"]  # nothing to compile
    settings += [f"run_dir={folder / 'run'}", "trainer.enable_progress_bar=false"]

    def work() -> None:
        _command("train", settings)
        wavenet.save(wavenet.load(folder / "run" / "checkpoints" / "last.ckpt"), folder / "model")

    report = _forked(work, folder)
    if "error" in report:
        raise RuntimeError(report["error"] + report["output"])
    return folder / "model", folder / "run"


def _in_child(case: Case, watched: Path) -> Outcome:
    did: list[str] = []

    def work() -> None:
        # Restoring is done for real; the training that would follow is not.
        import lightning as L

        def arrived(self: Any) -> None:
            raise SystemExit(0)

        L.Trainer._run_stage = arrived  # type: ignore[method-assign]
        sys.addaudithook(lambda event, arguments: _watch(event, arguments, did))
        if case.command == "load":
            model = wavenet.load(case.path)
            assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
        else:
            _command("train", [f"resume={case.path}", "trainer.max_steps=4"])

    report = _forked(work, watched, did)
    error, message = report.get("error", ""), report["output"].strip()
    if case.command == "load":
        refused, message = error == "CheckpointError" and not message, message or report["message"]
    else:
        refused = error == "SystemExit" and report["message"] == "2" and message.startswith("wavenet train: ")
        error = "" if error == "SystemExit" and report["message"] == "0" else error
    if not refused and not error:
        message = ""
    elif not refused:
        message = f"{error}: {report['message']}\n{message}"
    return Outcome(
        case, refused, message, report["seconds"], report["cpu"], report["megabytes"], report["did"] if refused else []
    )


def _forked(work: Callable[[], None], folder: Path, did: list[str] | None = None) -> dict[str, Any]:
    """Run something in a child; returns what became of it, and what it printed."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as report:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            result = _measured(work, folder, output.fileno())
            os.write(report.fileno(), json.dumps(result | {"did": did or []}).encode())
            os._exit(0)
        deadline = time.monotonic() + _PATIENCE * (6 if did is None else 1)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.002)
        output.seek(0)
        report.seek(0)
        text = report.read().decode()
        died = {"error": "died or hung", "message": "", "seconds": _PATIENCE, "cpu": 0, "megabytes": 0, "did": []}
        return (json.loads(text) if text else died) | {"output": output.read().decode(errors="replace")}


def _measured(work: Callable[[], None], folder: Path, output: int) -> dict[str, Any]:
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    result: dict[str, Any] = {"message": ""}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    try:
        work()
    except BaseException as error:
        result = {"error": type(error).__name__, "message": str(error)}
        if not isinstance(error, CheckpointError | SystemExit):
            traceback.print_exc()
    result |= {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    result["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    sys.stdout.flush()
    sys.stderr.flush()
    return result


def _command(name: str, overrides: list[str]) -> None:
    from importlib import import_module

    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    sys.argv = [str(ROOT / "scripts" / f"{name}.py"), *overrides]
    import_module(f"wavenet.cli.{name}").main()


def _watch(event: str, arguments: tuple[Any, ...], did: list[str]) -> None:
    if event == "os.mkdir" and os.path.isdir(arguments[0]):  # Hydra's, of the folder in which it is
        return
    if event == "ctypes.dlopen" and str(arguments[0]).startswith("libnvidia"):  # Lightning looks for GPUs
        return
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    if writes and arguments[0] != os.devnull and not isinstance(arguments[0], int):
        did.append(f"opened {arguments[0]!r} for writing")
    elif event in _PROGRAMS or event in _CHANGES:
        did.append(f"{event}{arguments!r:.80}")


def _names_the_file(message: str, case: Case) -> bool:
    return any(str(place) in message for place in (case.path, case.path.name and case.path.parent))


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def prepare_parent() -> None:
    """Import all that the children need, so that it is neither timed nor counted."""
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    for module in ("wavenet.cli.train", "lightning.pytorch.loggers", "torch._dynamo"):
        __import__(module)


def run(only: str, num_mutants: int, every: int = 1) -> list[Outcome]:
    """Judge the corpus, and mutants.

    Args:
        only: Words, one of which a case's kind or name must hold; empty for all.
        num_mutants: How many mutants.
        every: Take every so many cases of a kind only.
    """
    prepare_parent()
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        folder = Path(temporary)
        watched, canary = folder / "watched", folder / "canary"
        watched.mkdir()
        os.environ["WAVENET_CACHE"] = str(folder / "cache")
        good = make_good(folder)
        chosen: dict[str, int] = {}

        def wanted(kind: str, name: str) -> bool:
            chosen[kind] = chosen.get(kind, -1) + 1
            words = only.split(",") if only else [""]
            return (kind == GOOD or chosen[kind] % every == 0) and any(word in f"{kind}: {name}" for word in words)

        cases = corpus(*good, folder / "corpus", canary, wanted)
        return judge(cases, canary, watched) + judge(mutants(*good, folder, num_mutants), canary, watched)


def table(outcomes: list[Outcome], timed: bool = True) -> str:
    """A line for each kind."""
    lines = [header(_COLUMNS)]
    for kind in dict.fromkeys(outcome.case.kind for outcome in outcomes):
        of_kind = [outcome for outcome in outcomes if outcome.case.kind == kind]
        refused = sum(outcome.refused for outcome in of_kind)
        failed = sum(bool(outcome.failures(timed)) for outcome in of_kind)
        worst = (max(getattr(outcome, name) for outcome in of_kind) for name in ("seconds", "cpu", "megabytes"))
        seconds, cpu, megabytes = worst
        cells = [kind, str(len(of_kind)), str(refused), str(failed), f"{seconds:.2f}", f"{cpu:.2f}", f"{megabytes:.0f}"]
        lines.append(line_of(cells, _COLUMNS))
    return "\n".join(lines)


def main() -> int:
    """Print a table, and what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="words of kinds or names, with commas between them")
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--every", type=int, default=1, help="try every so many cases of a kind only")
    parser.add_argument("--untimed", action="store_true", help="a slow machine fails nothing")
    parser.add_argument("--verbose", action="store_true", help="print every line that was printed")
    asked = parser.parse_args()
    print(machine_in_words())
    outcomes = run(asked.only, asked.mutants, asked.every)
    print(table(outcomes, not asked.untimed))
    failed = 0
    for outcome in outcomes:
        case, failures = outcome.case, outcome.failures(not asked.untimed)
        if asked.verbose:
            print(f"{case.kind}, {case.name}, {case.command}: {outcome.message}")
        failed += bool(failures)
        for failure in failures:
            print(f"FAILED {case.kind}, {case.name}, {case.command}: {failure}")
    print(f"{len(outcomes)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
