"""Commands that several processes share, when torchrun or srun has started them."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch

from wavenet.checkpoint import describe
from wavenet.data.on_ray import run_on_ray
from wavenet.model import WaveNet

_TIMEOUT = 600.0  # seconds without a sign of life of another process

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Share:
    """This process among those that share a command's work.

    Attributes:
        rank: Its number.
        size: How many there are.
        local_rank: Its number on this machine.
        launched: Whether torchrun or srun has started it, and may start it again.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launched: bool = False

    def device(self, name: str) -> str:
        """Return the device of this process: with several on a machine, each takes a GPU of its own."""
        return f"cuda:{self.local_rank}" if name == "cuda" and self.size > 1 else name

    def to_first(self, name: str, value: Any) -> list[Any]:
        """Return the value of every process, in the first one; see `wavenet.training.Rendezvous`."""
        return [value] if self.size == 1 else _rendezvous().to_first(name, value)

    def after_first(self, name: str, work: Callable[[], Result]) -> Result:
        """Do some work in the first process, and in the others once it is done there."""
        return work() if self.size == 1 else _rendezvous().after_first(name, work)


@lru_cache(maxsize=1)
def _rendezvous() -> Any:
    from wavenet.training.rendezvous import Rendezvous, launch  # noqa: PLC0415

    return Rendezvous.join(launch(), _TIMEOUT)


def share() -> Share:
    """Return this process's share.

    Raises:
        ValueError: If the variables of torchrun or srun are incomplete.
    """
    if not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & os.environ.keys():  # so that Lightning is not imported
        return Share()
    from wavenet.training.rendezvous import launch  # noqa: PLC0415

    started = launch()
    if started is None:
        return Share()
    environment = started.environment
    return Share(environment.global_rank(), environment.world_size(), environment.local_rank(), launched=True)


def check_engine(engine: str, mine: Share) -> None:
    """Check that Ray is not started by each of several processes.

    Raises:
        ValueError: If it would be.
    """
    if engine == "ray" and mine.size > 1:
        raise ValueError("engine is 'ray', which starts processes itself; start the command once, without torchrun")


def run_with_model(
    model: WaveNet, work: Callable[[WaveNet, Item], Result], jobs: Sequence[Item], label: str
) -> Iterator[Result]:
    """Run a function of a model and a job for every job, by Ray; see `run_on_ray`.

    Args:
        model: The model; it is sent by way of the CPU, and used on its kind of device.
        work: The function; it must be picklable.
        jobs: The jobs.
        label: What it does, for messages.
    """
    device = next(model.parameters()).device.type
    task = partial(_on_device, deepcopy(model).cpu(), device, work)
    return run_on_ray(task, jobs, label, progress=False, unit="task", num_gpus=int(device == "cuda"))


def _on_device(model: WaveNet, device: str, work: Callable[[WaveNet, Item], Result], job: Item) -> Result:
    return work(model.to(device), job)


def chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return a sequence in pieces of a size, of which the last may be shorter.

    >>> chunks([1, 2, 3], 2)
    [[1, 2], [3]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def digest_of_model(model: WaveNet) -> Any:
    """Return a digest of a model and its weights, to be updated with what else a result depends on."""
    digest = hashlib.sha256(json.dumps(describe(model), sort_keys=True).encode())
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
    return digest


def lines_to(path: Path) -> BinaryIO:
    """Open a file of lines of JSON for more; if a process was killed within the last one, the next begins below it."""
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, io.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def lines_of(path: Path) -> list[Any]:
    """Return the values of a file's lines of JSON, without one within which a process was killed."""
    found = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
