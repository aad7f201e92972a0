"""Finds the process that is missing when the others wait for it."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from wavenet.training.rendezvous import JOINING, did_not_find_each_other

_PERIOD = 1.0  # seconds between two signs of life
_SILENCE = 5.0  # seconds without one, after which a process counts as frozen or cut off
_BREAKING = 3.0  # seconds in which a process that broke a connection ends
_ANSWER = 5.0  # seconds in which the store answers
_WAITS_IN = (f"torch{os.sep}distributed{os.sep}", f"torch{os.sep}autograd{os.sep}")  # gradients are exchanged in both
_GONE = "has ended, is frozen or cut off"
_PACKAGE = "wavenet"


@dataclass
class Sign:
    """What a process says of itself every second.

    Attributes:
        rank: Number of the process.
        host: Name of its machine.
        pid: Its id there.
        progress: Batches of training begun, part of the batch or of the validation after it, utterances validated.
        place: The same in words, such as "step 12".
        line: The innermost line of this package that it executes, such as "data/corpus.py:120".
        waits: Whether it waits for other processes.
        count: Signs given so far.
    """

    rank: int
    host: str
    pid: int
    progress: tuple[int, int, int] = (0, 0, 0)
    place: str = "the start"
    line: str = ""
    waits: bool = False
    count: int = 0

    def __str__(self) -> str:
        return f"process {self.rank} ({self.host}, pid {self.pid})"


class ProcessMonitor(L.Callback):
    """Ends a run of several processes if they wait too long for one of them, and names it.

    Each process publishes in a thread, every second, where it is. A process that has been in the same place for the
    timeout looks at the others: those that are behind, silent, or not waiting like itself are missing.

    Args:
        timeout: Seconds.
        end: What to do then, with a sentence that names the missing processes. It must end the process, and is called
            in the monitor's thread, as the main thread waits outside of Python.
    """

    def __init__(self, timeout: float, end: Callable[[str], None]) -> None:
        self._timeout, self._end = timeout, end
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: Any = None
        self._world = 1
        self._sign = Sign(0, socket.gethostname(), os.getpid())
        self._since = time.monotonic()
        self._main = threading.main_thread().ident

    def let_wait(self, trainer: L.Trainer) -> None:
        """Make the process group wait for longer than the timeout, so that the monitor speaks first."""
        if isinstance(trainer.strategy, DDPStrategy):
            waits = max(JOINING, timedelta(seconds=self._timeout + 60))
            trainer.strategy._timeout = waits  # pyright: ignore[reportPrivateUsage]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start, if there are several processes."""
        if trainer.world_size == 1 or not dist.is_initialized() or self._thread is not None:
            return
        self._world, self._sign.rank = trainer.world_size, trainer.global_rank
        store = dist.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
        self._store = store.clone()  # a connection of its own: the other one may be in use while the main thread waits
        self._store.set_timeout(timedelta(seconds=_ANSWER))
        self._since = time.monotonic()
        self._publish()
        self._thread = threading.Thread(target=self._watch, name="process-monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * _ANSWER)

    def missing_after_error(self, error: RuntimeError) -> str | None:
        """Say which process is missing, if that is the reason of an error; None if all are there."""
        if self._thread is None and isinstance(error, dist.DistStoreError | dist.DistNetworkError):
            return did_not_find_each_other(error)
        if self._thread is None:
            return None
        before = self._signs()
        started = time.monotonic()
        while time.monotonic() < started + _BREAKING:
            for sign in before:
                if sign.host == self._sign.host and (ended := _how_it_ended(sign.pid)):
                    return f"{sign} {ended} (in {sign.place})"
            time.sleep(0.05)
        return self._silent(before, self._signs() if before else []) or None

    def _watch(self) -> None:
        while not self._stopped.wait(_PERIOD):
            self._look_at_main_thread()
            with contextlib.suppress(dist.DistError):  # a store that does not answer matters when others wait
                self._publish()
            waited = time.monotonic() - self._since
            if waited < self._timeout:
                continue
            reason = self._missing()
            if reason is None or self._stopped.is_set():
                self._since = time.monotonic() - self._timeout / 2  # look again later
                continue
            self._end(
                f"{reason}; process {self._sign.rank} has waited {self._timeout:g} s for it in {self._sign.place} "
                "(trainer.timeout). What was saved is kept: continue with resume=RUN"
            )
            return

    def _look_at_main_thread(self) -> None:
        """Note where the main thread is, and whether it waits for other processes."""
        frame: Any = sys._current_frames().get(self._main or 0)  # pyright: ignore[reportPrivateUsage]
        self._sign.waits = frame is not None and any(part in frame.f_code.co_filename for part in _WAITS_IN)
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            frame = frame.f_back
        self._sign.line = ""
        if frame is not None:
            module = frame.f_globals["__name__"].removeprefix(f"{_PACKAGE}.")
            self._sign.line = f"{module.replace('.', '/')}.py:{frame.f_lineno}"

    def _publish(self) -> None:
        self._sign.count += 1
        self._store.set(_key(self._sign.rank), json.dumps(asdict(self._sign)))

    def _signs(self) -> list[Sign]:
        """Return the last sign of every process; nothing if the store does not answer."""
        found: list[Sign] = []

        def read() -> None:
            with contextlib.suppress(dist.DistError):
                for rank in range(self._world):
                    sign = json.loads(self._store.get(_key(rank)))
                    found.append(Sign(**{**sign, "progress": tuple(sign["progress"])}))

        reader = threading.Thread(target=read, daemon=True)  # as a store that is frozen may hold it for ever
        reader.start()
        reader.join(_ANSWER + 1)
        return found if len(found) == self._world else []

    def _missing(self) -> str | None:
        """Say which processes the others wait for; None if this is one of them, or if it cannot be told."""
        before = self._signs()
        self._stopped.wait(_SILENCE)
        signs = self._signs() if before else []
        if silent := self._silent(before, signs):
            return silent
        last = max(sign.progress for sign in signs)
        missing = [sign for sign in signs if sign.progress < last]
        if not missing and self._sign.waits:
            missing = [sign for sign in signs if not sign.waits]
        if not missing or self._sign.rank in (sign.rank for sign in missing):
            return None
        return ", ".join(f"{sign} is still in {sign.place} ({sign.line})" for sign in missing)

    def _silent(self, before: list[Sign], now: list[Sign]) -> str:
        """Name the processes that have given no sign between two looks; "" if there are none."""
        if not now:
            return f"process 0, through which the others find each other, does not answer: it {_GONE}"
        counts = {sign.rank: sign.count for sign in before}
        silent = [sign for sign in now if counts.get(sign.rank) == sign.count and sign.rank != self._sign.rank]
        return ", ".join(f"{sign}, last in {sign.place}, gives no sign of life: it {_GONE}" for sign in silent)

    def _at(self, progress: tuple[int, int, int], place: str) -> None:
        self._sign.progress, self._sign.place, self._since = progress, place, time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the step."""
        self._at((self._sign.progress[0] + 1, 0, 0), f"step {trainer.global_step + 1}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that the step is done."""
        self._at((self._sign.progress[0], 1, 0), f"the work after step {trainer.global_step}")

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note the utterance."""
        place = f"held-out utterance {batch_idx + 1} after step {trainer.global_step}"
        self._at((self._sign.progress[0], 2, batch_idx), place)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that the utterances are done."""
        self._at((self._sign.progress[0], 3, 0), f"the end of the validation after step {trainer.global_step}")


def _key(rank: int) -> str:
    return f"wavenet/process/{rank}"


def _how_it_ended(pid: int) -> str:
    """Say how a child process ended; "" if it runs, or if it is no child of this one."""
    if not hasattr(os, "waitid"):  # Windows
        return ""
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ""
    if result is None:
        return ""
    if result.si_code == os.CLD_EXITED:
        return f"has ended with exit code {result.si_status}; what it printed says why"
    reason = "; the system may have run out of memory" * (result.si_status == 9)
    return f"was ended by signal {result.si_status}{reason}"
