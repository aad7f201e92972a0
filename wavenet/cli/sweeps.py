"""Sweeps: a run's folder is named by its settings, and a table of all runs is printed at the end."""

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from wavenet.audio import file_name_for
from wavenet.cli.launched import lines_of
from wavenet.names import one_line

_RESULTS = "sweep.jsonl"
_LONGEST = 120  # characters of a folder's name


def is_sweep() -> bool:
    """Whether this process runs one of several runs, which `-m` asked for."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def name_of(overrides: str, number: int) -> str:
    """Return the name of a run's folder within its sweep's.

    Args:
        overrides: Those by which the runs differ, separated by commas.
        number: The run's within the sweep.

    >>> name_of("optimizer.lr=0.002,experiment=my/own", 3), name_of("", 3)
    ('optimizer.lr=0.002,experiment=my_own', '3')
    """
    name = ",".join("=".join(map(file_name_for, each.split("=", 1))) for each in overrides.split(",")).lstrip(".")
    return name if name and len(name) <= _LONGEST else f"{name[:_LONGEST]}{'-' * bool(name)}{number}"


def folder_in_sweep(run_dir: str) -> str:
    """Return the folder of this run, within that of its sweep."""
    job = HydraConfig.get().job
    return str(Path(run_dir) / name_of(job.override_dirname, job.num))


def add_result(sweep: Path, run: Path, bits: float | None) -> None:
    """Add a run to its sweep's table; runs may end at the same time, in processes of their own.

    Args:
        sweep: The sweep's folder.
        run: The run's folder.
        bits: Bits per sample on held-out utterances.
    """
    line = json.dumps({"run": str(run), "bits": bits, "overrides": list(HydraConfig.get().overrides.task)}) + "\n"
    with (sweep / _RESULTS).open("a", encoding="utf-8") as file:  # written at once, as it closes
        file.write(line)


class SweepTable(Callback):
    """Has the runs of a sweep named by the settings in which they differ, and lists them at the end, the best first."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave settings that all runs share out of Hydra's name of a run."""
        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        shared = [each.key_or_group for each in parsed if not each.is_sweep_override()]
        quoted = ",".join(QuotedString(key, Quote.single).with_quotes() for key in shared)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{quoted}]")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table."""
        rows = lines_of(Path(config.run_dir) / _RESULTS)
        if not rows:
            return
        rows.sort(key=lambda row: (row["bits"] is None, row["bits"]))
        print("held-out bits  run")
        for row in rows:
            bits = "" if row["bits"] is None else f"{row['bits']:.4f}"
            print(f"{bits:<13}  {one_line(row['run'])}")
