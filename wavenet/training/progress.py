"""The progress bar of training."""

import math
import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only

from wavenet.progress import Bar, print_above, seconds_between_updates
from wavenet.training.log import TrainingLog

# of 80 columns, all that is measured leaves some for the bar
_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining} left{postfix}]"


class TrainingProgress(ProgressBar):
    """A bar with steps, remaining time, bits per sample in training and validation, and samples per second.

    Args:
        log: Measures the speed.
    """

    def __init__(self, log: TrainingLog) -> None:
        super().__init__()
        self._log = log
        self._enabled = True
        self._bar: Bar | None = None
        self._smooth: float | None = None
        self._last_step = 0

    def disable(self) -> None:
        """Do nothing: Lightning calls this on all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Create the bar."""
        self._last_step = trainer.global_step
        total = trainer.max_steps if trainer.max_steps > 0 else None
        self._bar = Bar(
            total=total,
            bar_format=None if total is None else _FORMAT,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            disable=not self._enabled,
            file=sys.stderr,
            mininterval=seconds_between_updates(),
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance to the current step."""
        if self._bar is None or trainer.global_step == self._last_step:
            return
        self._bar.update(trainer.global_step - self._last_step)
        self._last_step = trainer.global_step
        bits = float(trainer.callback_metrics["train/bits_per_sample"])
        if math.isfinite(bits):
            self._smooth = bits if self._smooth is None else 0.95 * self._smooth + 0.05 * bits
        if self._log.samples_per_second and self._smooth is not None:
            self._bar.set_postfix_str(self._describe(trainer), refresh=False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the result of the validation."""
        if trainer.sanity_checking or self._bar is None:
            return
        value = trainer.callback_metrics.get("validation/bits_per_sample")
        if value is not None:
            self.print(f"step {trainer.global_step}: {float(value):.4f} bits per sample on held-out utterances")
            if self._smooth is not None:
                self._bar.set_postfix_str(self._describe(trainer))  # also in the bar's last line

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message is on a line of its own."""
        self.on_train_end(trainer, pl_module)

    @rank_zero_only
    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        """Print beside the bar."""
        print_above(sep.join(map(str, args)))

    def _describe(self, trainer: L.Trainer) -> str:
        held_out = trainer.callback_metrics.get("validation/bits_per_sample")
        found = [f"{self._smooth:.3f} bits"]
        found += [] if held_out is None else [f"held out {float(held_out):.3f}"]
        found += [f"{self._log.samples_per_second / 1000:.0f} k samples/s"] if self._log.samples_per_second else []
        return ", ".join(found)
