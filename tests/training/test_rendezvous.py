"""Processes that torchrun or srun has started find each other, and the first one works for all."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from wavenet.training import Rendezvous, launch
from wavenet.training.rendezvous import _session


@pytest.fixture
def stores():
    """Return a function that connects to one store, as each process does."""
    first = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    return lambda: dist.TCPStore("127.0.0.1", first.port, is_master=False, timeout=timedelta(seconds=60))


def in_processes(size, work):
    """Call work(rank) in as many threads."""
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, range(size)))


def sessions(stores, size):
    return in_processes(size, lambda rank: _session(stores(), rank, size))


def test_every_start_has_a_session_of_its_own(stores):
    """What earlier starts have left in the store is not taken for the present one's, with fewer processes or more."""
    found = [sessions(stores, size) for size in (3, 3, 2, 4)]
    assert [len(each) for each in found] == [3, 3, 2, 4]
    assert all(len(set(each)) == 1 for each in found)
    assert len({each[0] for each in found}) == 4


def test_a_process_that_comes_late_after_a_restart_is_waited_for(stores):
    sessions(stores, 2)  # leaves the second process's name
    done = []

    def start(rank):
        if rank:
            time.sleep(0.5)
            assert not done
        done.append(_session(stores(), rank, 2))
        return done[-1]

    first, second = in_processes(2, start)
    assert first == second


def test_what_the_first_finds_and_what_each_has(stores):
    def work(rank):
        rendezvous = Rendezvous(rank, 3, dist.PrefixStore("a", stores()), timeout=10)
        found = rendezvous.from_first("found", lambda: {"rank": rank, "name": "é"})
        every = rendezvous.gather("every", rank * 10)
        rendezvous.close()
        return found, every

    assert in_processes(3, work) == [({"rank": 0, "name": "é"}, [0, 10, 20])] * 3


def test_the_others_begin_when_the_first_is_done(stores):
    order, lock = [], threading.Lock()

    def work(rank):
        rendezvous = Rendezvous(rank, 3, dist.PrefixStore("a", stores()), timeout=10)

        def prepare():
            with lock:
                order.append(f"{rank} begins")
            time.sleep(0.3 * (rank == 0))
            with lock:
                order.append(f"{rank} ends")
            return rank

        result = rendezvous.after_first("audio", prepare)
        rendezvous.close()
        return result

    assert in_processes(3, work) == [0, 1, 2]
    assert order[:2] == ["0 begins", "0 ends"]


def test_they_do_not_wait_for_one_that_shows_no_life(stores, monkeypatch):
    monkeypatch.setattr("wavenet.training.rendezvous._LOOK", timedelta(seconds=0.1))
    first = Rendezvous(0, 2, dist.PrefixStore("a", stores()), timeout=10)
    second = Rendezvous(1, 2, dist.PrefixStore("a", stores()), 2.5, "trainer.timeout")
    first.close()
    with pytest.raises(
        ValueError, match=r"process 0 has given no sign of life for 2.5 s \(trainer.timeout\): it has e"
    ):
        second.from_first("never", lambda: 1)
    second.close()


def test_the_first_gets_what_every_process_has(stores):
    def work(rank):
        rendezvous = Rendezvous(rank, 3, dist.PrefixStore("a", stores()), timeout=10)
        found = [rendezvous.to_first(name, [name, rank]) for name in ("x", "y")]
        rendezvous.close()
        return found

    first, *others = in_processes(3, work)
    assert first == [[[name, rank] for rank in range(3)] for name in ("x", "y")]
    assert others == [[[], []]] * 2


def test_they_wait_as_long_as_the_first_lives(stores, monkeypatch):
    monkeypatch.setattr("wavenet.training.rendezvous._LOOK", timedelta(seconds=0.1))
    monkeypatch.setattr("wavenet.training.rendezvous._PERIOD", 0.1)

    def work(rank):
        rendezvous = Rendezvous(rank, 2, dist.PrefixStore("a", stores()), timeout=1)
        found = rendezvous.from_first("slow", lambda: time.sleep(2.5) or "found")
        rendezvous.close()
        return found

    assert in_processes(2, work) == ["found", "found"]


def test_one_process_needs_no_store():
    alone = Rendezvous.join(None, timeout=10)
    assert (alone.rank, alone.world_size) == (0, 1)
    assert alone.gather("x", 3) == [3]
    assert alone.from_first("y", lambda: 4) == 4
    assert alone.after_first("z", lambda: 5) == 5


def test_a_lack_of_variables_is_named(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_NNODES", "2")
    with pytest.raises(ValueError, match="HINT: Use `--ntasks-per-node=2` instead"):
        launch()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    with pytest.raises(ValueError, match="SLURM has given this job 2 tasks, but srun has not started this process"):
        launch()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    started = launch()
    assert (started.num_nodes, started.devices) == (2, 1)
    with pytest.raises(ValueError, match="the environment has no variable 'SLURM_PROCID'; start the processes by "):
        Rendezvous.join(started, timeout=10)
