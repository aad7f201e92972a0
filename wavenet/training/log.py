"""The log of a training run: loss, learning rate, speed, validation."""

import csv
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from wavenet.atomic_files import atomic_write

_WRITE_INTERVAL = 10.0  # seconds, so that a run can be followed; each checkpoint and validation also writes the log


class TrainingLog(Callback):
    """Logs loss, norm of the gradients before clipping, learning rate and speed at regular steps, and each validation.

    An entry's step is the number of optimizer steps taken. Entries are logged before the checkpoint of the
    same step is written, so a resumed run does not log them again.

    Args:
        samples_per_step: Samples predicted in one optimizer step, by all processes together.
        every_n_steps: Steps between entries.
        purged_from: In a resumed run, the step from which on old entries were removed.
    """

    def __init__(self, samples_per_step: int, every_n_steps: int, purged_from: int | None = None) -> None:
        self.samples_per_step = samples_per_step
        self.samples_per_second = 0.0
        self._every, self._purged_from = every_n_steps, purged_from
        self._entry: dict[str, Any] = {}
        self._clock, self._clock_step, self._last_step, self._written = 0.0, 0, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the last training entry: a run that resumes before that step's validation logs it again."""
        return {"entry": self._entry}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the last entry."""
        self._entry = dict(state_dict.get("entry", {}))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start measuring the speed."""
        self._last_step = trainer.global_step
        self._reset_clock(trainer)
        if self._purged_from is not None and self._entry.get("step", -1) >= self._purged_from:
            self._log(trainer, {name: value for name, value in self._entry.items() if name != "step"})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log an entry if one is due."""
        step = trainer.global_step
        if step == self._last_step or step % self._every:
            return
        self._last_step = step
        self.samples_per_second = (
            self.samples_per_step * (step - self._clock_step) / (time.perf_counter() - self._clock)
        )
        self._reset_clock(trainer)
        entry = {
            "train/bits_per_sample": float(trainer.callback_metrics["train/bits_per_sample"]),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "samples_per_second": self.samples_per_second,
        }
        norm = getattr(pl_module, "gradient_norm", None)
        if norm is not None:
            entry["train/gradient_norm"] = float(norm)
        self._entry = {"step": step, **entry}
        self._log(trainer, entry)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the validation, and exclude its time from the training speed."""
        name = "validation/bits_per_sample"
        self._log(trainer, {name: float(trainer.callback_metrics[name])})
        self._reset_clock(trainer)

    def _reset_clock(self, trainer: L.Trainer) -> None:
        self._clock, self._clock_step = time.perf_counter(), trainer.global_step

    def _log(self, trainer: L.Trainer, entry: dict[str, float]) -> None:
        now = time.perf_counter()
        due = now - self._written > _WRITE_INTERVAL
        for logger in trainer.loggers:
            logger.log_metrics(entry, trainer.global_step)
            if due:
                logger.save()
        self._written = now if due else self._written


def log_settings(loggers: Iterable[Logger], settings: Mapping[str, Any]) -> None:
    """Give a run's settings to its loggers, before its first step.

    TensorBoard's table of hyperparameters shows them beside the held-out bits.

    Args:
        loggers: The loggers.
        settings: Plain data, nested by group.
    """
    flat = dict(_flat("", settings))
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(flat)
            continue
        from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415  # TensorBoard takes a while

        logger.hparams.update(flat)  # for hparams.yaml; its own method would also log a metric of -1
        shown = {name: value if isinstance(value, int | float | str) else str(value) for name, value in flat.items()}
        writer = logger.experiment._get_file_writer()
        for part in hparams(shown, {"validation/bits_per_sample": 0.0}):  # only the names of the metrics are written
            writer.add_summary(part)


def _flat(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


class CSVLog(Logger):
    """Writes a table `csv/metrics.csv`, with a row for each step that has entries.

    Args:
        save_dir: The run's folder.
        purge_step: Rows of an existing table before this step are kept; None keeps none.
    """

    def __init__(self, save_dir: str, purge_step: int | None = None) -> None:
        super().__init__()
        self._path = Path(save_dir) / "csv" / "metrics.csv"
        self._purge_step = purge_step
        self._rows: dict[int, dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> int | str | None:
        """No version: a run has one table."""
        return None

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Ignored: hyperparameters are in the run's config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        if self._rows is None:
            self._rows = self._read_kept_rows()
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        """Write the whole table."""
        if not self._rows:
            return
        columns = ["step", *dict.fromkeys(name for row in self._rows.values() for name in row)]
        with atomic_write(self._path) as beside, beside.open("w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table at the end of the run."""
        self.save()

    def _read_kept_rows(self) -> dict[int, dict[str, Any]]:
        if self._purge_step is None or not self._path.is_file():
            return {}
        try:
            with self._path.open(newline="") as file:
                rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise ValueError(f"{self._path}: not a metrics table of a run ({error}); move it elsewhere") from error
        return {
            step: {name: value for name, value in row.items() if value}
            for step, row in rows.items()
            if step < self._purge_step
        }
