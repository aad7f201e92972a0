"""Work on many files by Ray, on this machine or a cluster."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from wavenet.data.dataset import DatasetError
from wavenet.extras import install_command
from wavenet.progress import Bar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_on_ray(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    label: str,
    progress: bool,
    unit: str = "file",
    num_gpus: int = 0,
) -> Iterator[Result]:
    """Run every job as a task of Ray Data, which starts a task again whose worker was lost.

    It joins the cluster of the environment's RAY_ADDRESS, as `ray job submit` sets it, or else starts Ray on this
    machine. The workers need this package, and reach the same files; relative paths are those of this process.

    Args:
        work: Function of one job; it must be picklable.
        jobs: The jobs.
        label: Label of the progress bar.
        progress: Whether to show a progress bar.
        unit: What a job is, for the progress bar.
        num_gpus: GPUs of each worker.

    Yields:
        The results in the jobs' order.

    Raises:
        DatasetError: If a job does; or if the cluster cannot be reached, or loses a job's worker again and again.
        ModuleNotFoundError: If Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ModuleNotFoundError(f"the engine 'ray' needs Ray: {install_command('ray')}")
    if not jobs:
        return
    import ray  # noqa: PLC0415  # an extra, and it takes a second
    import ray.data  # noqa: PLC0415
    from ray.exceptions import RayError  # noqa: PLC0415

    started = not ray.is_initialized()
    try:
        if started:
            _start(ray)
        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it has no setting for its reports of each execution
        context.enable_progress_bars = False
        rows = [{"number": number, "job": pickle.dumps(job)} for number, job in enumerate(jobs)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Task(work), num_cpus=1, num_gpus=num_gpus
        )
        waiting: dict[int, Any] = {}
        following = 0
        with Bar(None, label, len(jobs), unit=unit, disable=not progress) as bar:
            for row in dataset.iter_rows():
                bar.update()
                waiting[row["number"]] = pickle.loads(row["result"])
                while following in waiting:
                    result = waiting.pop(following)
                    if isinstance(result, DatasetError):
                        raise result
                    yield result
                    following += 1
    except (RayError, ConnectionError) as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        reason = str(error).strip().splitlines()[-1]
        raise DatasetError(
            f"{label}: Ray on {where}: {reason:.300}; what is complete is kept, start it again"
        ) from error
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError):
        raise
    except Exception as error:  # Ray raises this itself if its own processes take too long to start
        raise ConnectionError(error) from error


class _Task:
    """A job as a row of bytes, and its result likewise, in the current folder of the command."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work, self._folder = work, Path.cwd()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with suppress(OSError):  # it may not be on this machine
            os.chdir(self._folder)
        try:
            result = self._work(pickle.loads(row["job"]))
        except DatasetError as error:
            result = error
        return {"number": row["number"], "result": pickle.dumps(result)}
