"""Processing of many files in several processes."""

import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

from wavenet.data.dataset import DatasetError
from wavenet.progress import Bar

_WORTH_PROCESSES = 400  # below this many files, starting processes costs more than it saves

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    label: str,
    num_processes: int | None,
    progress: bool,
    unit: str = "file",
    at_once: int = 8,
) -> Iterator[Result]:
    """Run every job.

    Args:
        work: Function of one job; it must be picklable, so no lambda.
        jobs: The jobs; `str` of a job names its file.
        label: Label of the progress bar.
        num_processes: Processes to use; None decides by the amount of work.
        progress: Whether to show a progress bar.
        unit: What a job is, for the progress bar.
        at_once: Jobs that a process is given at once.

    Yields:
        The results in the jobs' order.

    Raises:
        DatasetError: If one of the processes is killed; results until then are kept.
    """
    if num_processes is None:
        num_processes = usable_cores() if len(jobs) >= _WORTH_PROCESSES else 0
    done = 0
    try:
        with _pool(num_processes) as pool:
            results: Iterable[Result] = pool.map(work, jobs, chunksize=at_once) if pool else map(work, jobs)
            for result in Bar(results, label, len(jobs), unit=unit, disable=not progress or not jobs):
                yield result
                done += 1
    except BrokenProcessPool as error:
        raise DatasetError(
            f"{label}: a process died at {jobs[done]} or soon after it, killed for lack of memory or by a damaged "
            "file (in a script of your own, also if its code is not under if __name__ == '__main__'); "
            "free memory or remove the file and start again, or set num_processes=1"
        ) from error


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: those that it may run on, or fewer by its container's quota.

    Args:
        cgroup: Where Linux shows the limits of the container (cgroup v2, or v1).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # no such limit; "max" and -1 are none, too
            quota, period = (int(number) for name in names for number in (cgroup / name).read_text().split())
            if quota > 0 and period > 0:
                cores = min(cores, math.ceil(quota / period))
    return max(1, cores)


@contextmanager
def _pool(num_processes: int) -> Iterator[ProcessPoolExecutor | None]:
    if num_processes < 2:
        yield None
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool
