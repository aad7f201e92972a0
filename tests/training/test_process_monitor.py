"""A process that ends, freezes or falls behind is named by those that wait for it."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from tests.conftest import ROOT, TINY
from wavenet.training import ProcessMonitor, process_monitor
from wavenet.training.process_monitor import Sign

RUN = [
    sys.executable, str(ROOT / "scripts" / "train.py"), *TINY, "samples.final_seconds=0",
    "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "logger=none",
    "trainer.max_steps=1000000", "trainer.val_check_interval=1000000", "trainer.enable_progress_bar=false",
    "trainer.timeout=10", "save_every_n_steps=5", "optimizer=soap", "run_dir=run",
]  # fmt: skip


@pytest.fixture
def two_processes(in_tmp):
    """Start a run of two processes; the test gets the first one, and the id of the other, once they train."""
    with subprocess.Popen(RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        try:
            until = time.monotonic() + 100
            while not os.path.exists("run/checkpoints/last.ckpt"):
                assert first.poll() is None, first.communicate()
                assert time.monotonic() < until
                time.sleep(0.1)
            children = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True)
            yield first, int(children.stdout.split()[0])
        finally:
            first.kill()


def last_line(processes, signum, timeout):
    """Send a signal to the second process, and return the last line that the first one prints; it must end with 2."""
    first, second = processes
    os.kill(second, signum)
    _, errors = first.communicate(timeout=timeout)
    assert first.returncode == 2
    line = errors.strip().splitlines()[-1]
    assert line.startswith("wavenet train: process 1 (")
    return line, errors


def runs(process):
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found with pgrep")
def test_a_frozen_process_ends_the_run_after_the_timeout(two_processes):
    line, _ = last_line(two_processes, signal.SIGSTOP, timeout=100)
    second = two_processes[1]
    assert f"pid {second}), last in" in line
    assert "gives no sign of life" in line
    assert "process 0 has waited 10 s for it in" in line
    until = time.monotonic() + 30
    while runs(second):  # it is killed with its parent, and takes a moment to end
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found with pgrep")
def test_a_killed_process_ends_the_run_at_once(two_processes):
    line, errors = last_line(two_processes, signal.SIGKILL, timeout=60)
    assert f"pid {two_processes[1]}) was ended by signal 9; the system may have run out of memory (in " in line
    assert line.endswith("continue with resume=run")
    assert "Traceback" not in errors
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)  # of SOAP in two processes
    assert {float(state["step"]) for state in saved["optimizer_states"][0]["state"].values()} == {saved["global_step"]}
    assert all(bool(tensor.isfinite().all()) for tensor in saved["state_dict"].values())


class Store:
    """A store in memory whose processes go on giving signs, apart from those that are silent."""

    def __init__(self, *signs, silent=()):
        self.signs = {sign.rank: sign for sign in signs}
        self.silent = silent

    def get(self, key):
        sign = self.signs[int(key.rpartition("/")[2])]
        sign.count += sign.rank not in self.silent
        return json.dumps(asdict(sign)).encode()


def monitor_of(monkeypatch, store, rank=0):
    monkeypatch.setattr(process_monitor, "_SILENCE", 0.01)
    monitor = ProcessMonitor(10, print)
    monitor._store, monitor._world, monitor._sign = store, len(store.signs), store.signs[rank]
    return monitor


def signs(*progress, waits=()):
    return [
        Sign(rank, "node", 100 + rank, each, f"step {each[0]}", "data/corpus.py:7", rank in waits)
        for rank, each in enumerate(progress)
    ]


def test_the_process_that_is_behind_is_missing(monkeypatch):
    store = Store(*signs((3, 0, 0), (2, 1, 0), (3, 0, 0), waits=(0, 1, 2)))
    reason = "process 1 (node, pid 101) is still in step 2 (data/corpus.py:7)"
    assert monitor_of(monkeypatch, store)._missing() == reason
    assert monitor_of(monkeypatch, store, rank=2)._missing() == reason
    assert monitor_of(monkeypatch, store, rank=1)._missing() is None  # the others end the run


def test_of_processes_in_one_place_those_that_do_not_wait_are_missing(monkeypatch):
    store = Store(*signs((3, 3, 0), (3, 3, 0), waits=(1,)))
    assert monitor_of(monkeypatch, store, rank=1)._missing() == (
        "process 0 (node, pid 100) is still in step 3 (data/corpus.py:7)"
    )
    assert monitor_of(monkeypatch, store, rank=0)._missing() is None


def test_processes_that_all_work_are_not_missing(monkeypatch):
    store = Store(*signs((3, 0, 0), (3, 0, 0)))
    assert monitor_of(monkeypatch, store)._missing() is None


def test_a_silent_process_is_missing_wherever_it_is(monkeypatch):
    store = Store(*signs((3, 0, 0), (3, 0, 0), (4, 0, 0), waits=(0, 1, 2)), silent=(2,))
    assert monitor_of(monkeypatch, store)._missing() == (
        "process 2 (node, pid 102), last in step 4, gives no sign of life: it has ended, is frozen or cut off"
    )


def test_a_store_that_does_not_answer_means_that_the_first_process_is_missing(monkeypatch):
    store = Store(*signs((3, 0, 0), (3, 0, 0)))
    monitor = monitor_of(monkeypatch, store, rank=1)

    def get(key):
        raise dist.DistStoreError

    monkeypatch.setattr(store, "get", get)
    assert monitor._missing().startswith("process 0, through which the others find each other, does not answer")


def test_an_error_is_not_explained_by_processes_that_are_all_there(monkeypatch):
    monkeypatch.setattr(process_monitor, "_BREAKING", 0.1)
    monitor = monitor_of(monkeypatch, Store(*signs((3, 0, 0), (3, 0, 0))))
    assert monitor.missing_after_error(RuntimeError("shapes")) is None  # of one process
    monitor._thread = object()
    assert monitor.missing_after_error(RuntimeError("shapes")) is None


def test_processes_that_do_not_find_each_other(monkeypatch):
    error = dist.DistStoreError("Timed out after 1801 seconds waiting for clients. 1/2 clients joined.\nmore")
    assert ProcessMonitor(10, print).missing_after_error(error) == (
        "the processes did not find each other (Timed out after 1801 seconds waiting for clients. 1/2 clients joined.)"
        "; start all of them within 30 minutes, and check MASTER_ADDR, MASTER_PORT and the network"
    )


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="Windows")
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("raise SystemExit(3)", "has ended with exit code 3; what it printed says why"),
        ("import os; os.kill(os.getpid(), 15)", "was ended by signal 15"),
    ],
)
def test_how_a_process_ended(code, text):
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_monitor._how_it_ended(process.pid) == text
    assert process_monitor._how_it_ended(os.getpid()) == ""


def test_the_process_group_waits_for_longer_than_the_monitor():
    for seconds, wait in ((10, datetime.timedelta(minutes=30)), (7200, datetime.timedelta(seconds=7260))):
        strategy = DDPStrategy()
        ProcessMonitor(seconds, print).let_wait(SimpleNamespace(strategy=strategy))
        assert strategy._timeout == wait
    ProcessMonitor(10, print).let_wait(L.Trainer(accelerator="cpu", devices=1, logger=False))  # needs nothing
