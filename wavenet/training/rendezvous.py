"""What the processes of a run tell each other before their process group exists, through torch.distributed's store.

torchrun and srun start all processes at once. The first one then looks for the run to resume and prepares the
recordings, and the others wait for it. Processes that Lightning starts need none of this: the first one has done it
all before it starts them.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import (
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    Store,  # pyright: ignore[reportPrivateImportUsage]
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)
from torch.distributed.rendezvous import rendezvous

JOINING = timedelta(minutes=30)  # for all processes to start; one may prepare its recordings first
_LOOK = timedelta(seconds=5)
_POLL = 0.05  # seconds
_PERIOD = 1.0  # seconds between two signs of life of the first process

Result = TypeVar("Result")


@dataclass(frozen=True)
class Launch:
    """How torchrun or srun has started the processes.

    Attributes:
        environment: Lightning's description of it.
        num_nodes: Number of machines.
        devices: Processes on each.
    """

    environment: ClusterEnvironment
    num_nodes: int
    devices: int


def launch() -> Launch | None:
    """Return how this process was started; None if neither torchrun nor srun has started it with others.

    Raises:
        ValueError: If the variables that they set are incomplete.
    """
    try:
        if TorchElasticEnvironment.detect():
            environment, local = TorchElasticEnvironment(), int(os.environ["LOCAL_WORLD_SIZE"])
        elif SLURMEnvironment.detect():
            environment = SLURMEnvironment(auto_requeue=False)  # a signal saves last.ckpt; the job's script requeues
            _check_started_by_srun(environment.world_size())
            local = environment.world_size() // int(os.environ.get("SLURM_NNODES", "1"))
        else:
            return None
        return Launch(environment, environment.world_size() // local, local)
    except KeyError as error:
        raise _no_variable(error) from error
    except RuntimeError as error:  # Lightning's, of SLURM's variables
        raise ValueError(str(error)) from error


class Rendezvous:
    """The processes that torchrun or srun has started; this process alone if there are no others.

    Args:
        rank: Number of this process.
        world_size: Number of processes.
        store: Through which they find each other; None if there is one process.
        timeout: Seconds without a sign of life of a process, after which the others stop waiting for it.
        setting: The setting that gives the timeout, for messages.
    """

    def __init__(self, rank: int, world_size: int, store: Store | None, timeout: float, setting: str = "") -> None:
        self.rank, self.world_size = rank, world_size
        self._store, self._timeout = store, timeout
        self._setting = f" ({setting})" if setting else ""
        self._server: TCPStore | None = None
        self._stopped = threading.Event()
        if store is not None:
            pulse = store.clone()  # a connection of its own
            threading.Thread(target=self._show_life, args=(pulse,), name="rendezvous", daemon=True).start()

    @classmethod
    def join(cls, started: Launch | None, timeout: float, setting: str = "") -> "Rendezvous":
        """Wait for all processes that were started.

        Raises:
            ValueError: If they do not find each other.
        """
        if started is None or started.environment.world_size() == 1:
            return cls(0, 1, None, timeout)
        environment = started.environment
        size, host = environment.world_size(), environment.main_address
        try:
            rank = environment.global_rank()
        except KeyError as error:
            raise _no_variable(error) from error
        address = f"tcp://{f'[{host}]' if ':' in host else host}:{environment.main_port}"
        try:
            store, _, _ = next(rendezvous(address, rank, size, timeout=JOINING))
            session = _session(store, rank, size)
        except (dist.DistError, RuntimeError) as error:
            raise ValueError(did_not_find_each_other(error)) from error
        joined = cls(rank, size, PrefixStore(f"wavenet/{session}", store), timeout, setting)
        if isinstance(environment, TorchElasticEnvironment):
            joined._leave_the_agents_store(host)
        return joined

    def _leave_the_agents_store(self, host: str) -> None:
        """Let the process group use a store of its own.

        torchrun's lives as long as its agents, and so has the addresses of processes from before a restart, which those
        after it would try to reach.
        """

        def serve() -> int:
            self._server = TCPStore(host, 0, self.world_size, True, JOINING, False, multi_tenant=True)
            return self._server.port

        os.environ["MASTER_PORT"] = str(self.from_first("port", serve))
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"

    def gather(self, name: str, value: Any) -> list[Any]:
        """Return the value of every process, in the order of their ranks.

        Args:
            name: Of this exchange; each is used once.
            value: This process's, as plain data.
        """
        if self._store is None:
            return [value]
        self._store.set(f"{name}/{self.rank}", json.dumps(value))
        every = [self._await(f"{name}/{rank}", rank) for rank in range(self.world_size)]
        self._store.set(f"{name}/{self.rank}/read", "null")
        if self.rank == 0:  # which may have the store, and end at once because of what it has read
            for rank in range(1, self.world_size):
                self._await(f"{name}/{rank}/read", rank)
        return every

    def to_first(self, name: str, value: Any) -> list[Any]:
        """Return the value of every process, in the order of their ranks, in the first process; nothing in the others.

        Args:
            name: Of this exchange; each is used once.
            value: This process's, as plain data; JSON of at most 8 MB, which is the store's limit.
        """
        if self._store is None:
            return [value]
        if self.rank:
            self._store.set(f"{name}/{self.rank}", json.dumps(value))
            self._await(name)
            return []
        others = [self._await(f"{name}/{rank}", rank) for rank in range(1, self.world_size)]
        for rank in range(1, self.world_size):
            self._store.delete_key(f"{name}/{rank}")
        self._store.set(name, "null")
        return [value, *others]

    def from_first(self, name: str, find: Callable[[], Any]) -> Any:
        """Return what the first process finds, which alone looks for it; plain data.

        Args:
            name: Of this exchange; each is used once.
            find: What the first process calls.
        """
        if self._store is None:
            return find()
        if self.rank == 0:
            self._store.set(name, json.dumps(find()))
        return self._await(name)

    def after_first(self, name: str, work: Callable[[], Result]) -> Result:
        """Do some work in the first process, and in the others once it is done there.

        Args:
            name: Of the work; each is used once.
            work: What every process calls.
        """
        if self._store is not None and self.rank:
            self._await(name)
        result = work()
        if self._store is not None and self.rank == 0:
            self._store.set(name, "null")
        return result

    def close(self) -> None:
        """Stop showing that this process lives."""
        self._stopped.set()

    def _show_life(self, store: Store) -> None:
        while not self._stopped.wait(_PERIOD):
            try:
                store.add(f"alive/{self.rank}", 1)
            except dist.DistError:  # the others notice
                return

    def _await(self, key: str, rank: int = 0) -> Any:
        """Return what another process sets, however long that takes, as long as it lives."""
        assert self._store is not None
        seen, since = -1, time.monotonic()
        while True:
            try:
                with suppress(dist.DistStoreError):  # not yet
                    self._store.wait([key], _LOOK)
                    return json.loads(self._store.get(key))
                signs = self._store.add(f"alive/{rank}", 0)
            except dist.DistNetworkError as error:
                raise ValueError("process 0, through which the others find each other, has ended") from error
            if signs != seen:
                seen, since = signs, time.monotonic()
            elif time.monotonic() > since + self._timeout:
                raise ValueError(
                    f"process {rank} has given no sign of life for {self._timeout:g} s{self._setting}: it has "
                    "ended, is frozen or cut off"
                )


def did_not_find_each_other(error: RuntimeError) -> str:
    """Say that processes could not be joined, and what to check."""
    return (
        f"the processes did not find each other ({str(error).splitlines()[0]}); start all of them within "
        f"{JOINING.seconds // 60} minutes, and check MASTER_ADDR, MASTER_PORT and the network"
    )


def _no_variable(error: KeyError) -> ValueError:
    return ValueError(f"the environment has no variable {error}; start the processes by torchrun or srun")


def _check_started_by_srun(tasks: int) -> None:
    """Check that a job of several tasks has started this process as one of them: its script itself runs once."""
    if tasks > 1 and "SLURM_STEP_NUM_TASKS" not in os.environ:  # which srun sets, and sbatch and salloc do not
        raise ValueError(
            f"SLURM has given this job {tasks} tasks, but srun has not started this process, so it would wait for the "
            "others; begin the command with srun (or with srun --ntasks=1 for a single process)"
        )


def _session(store: Store, rank: int, world_size: int) -> str:
    """Agree on a name that no earlier start of these processes has used: torchrun keeps its store between restarts.

    What an earlier process has left under this one's rank is answered, too, but only an answer to a process's own name
    is read, and only an acknowledgement of the new session counts.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"wavenet/join/{rank}", own)
        session = store.get(f"wavenet/session/{own}").decode()
        store.set(f"wavenet/joined/{session}/{rank}", "")
        return session
    missing, until = list(range(1, world_size)), time.monotonic() + JOINING.total_seconds()
    while missing:
        for other in missing:
            if store.check([f"wavenet/join/{other}"]):
                asked = store.get(f"wavenet/join/{other}").decode()
                store.set(f"wavenet/session/{asked}", own)
        missing = [other for other in missing if not store.check([f"wavenet/joined/{own}/{other}"])]
        if missing:
            if time.monotonic() > until:
                raise dist.DistStoreError(f"no sign of process {', '.join(map(str, missing))}")
            time.sleep(_POLL)
    return own
