"""Checkpoints of a training run, saved so that a kill loses little work and a signal none."""

import io
import math
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from wavenet.atomic_files import atomic_write, os_error_reason
from wavenet.checkpoint import CheckpointError, upgrade_training_checkpoint

SIGNALS = (signal.SIGTERM, signal.SIGINT) + ((signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ())


class TrainingStopped(Exception):  # noqa: N818 (it is not an error)
    """A signal has stopped the run.

    Attributes:
        signum: The signal's number.
        saved: Steps after which the run was last saved.
    """

    def __init__(self, signum: int, saved: int) -> None:
        super().__init__(f"{signal.Signals(signum).name}; saved after {saved} steps")
        self.signum, self.saved = signum, saved


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, and also reads those of earlier versions.

    Of several processes the first one reads, and sends the others what it has read: the run's folder may be on its
    machine alone.
    """

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint, and upgrade it to the current format."""
        several = dist.is_initialized() and dist.get_world_size() > 1
        read = [None if several and dist.get_rank() else super().load_checkpoint(*args, **kwargs)]
        if several:
            dist.broadcast_object_list(read, src=0)
        assert read[0] is not None
        return upgrade_training_checkpoint(read[0])

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to a temporary file, and rename it.

        Raises:
            CheckpointError: If it cannot be written; an earlier file of that name is kept.
        """
        data = io.BytesIO()  # torch.save's own file writing does not say why it failed
        torch.save(checkpoint, data)
        try:
            with atomic_write(Path(path), make_folder=False) as beside:
                beside.write_bytes(data.getbuffer())
        except OSError as error:
            if not Path(path).parent.is_dir():
                why = f"{Path(path).parent} is gone; was a disk unmounted?"
            else:
                why = f"{os_error_reason(error)}. What was saved there before is kept"
            raise CheckpointError(f"{path}: cannot be written: {why}. Then continue with resume=RUN") from error


class BestCheckpoint(Checkpoint):
    """Saves the run to one file after every validation that is the best so far.

    Args:
        path: The file.
        monitor: Name of the validated metric; lower is better.
    """

    def __init__(self, path: Path, monitor: str) -> None:
        super().__init__()
        self._path, self._monitor, self._best = path, monitor, math.inf

    def state_dict(self) -> dict[str, Any]:
        """Return the best value."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value."""
        self._best = float(state_dict["best"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if the validation is the best so far."""
        value = float(trainer.callback_metrics[self._monitor])
        if value < self._best:
            self._best = value
            trainer.save_checkpoint(self._path)


class LastCheckpoint(Checkpoint):
    """Saves the latest state: at regular steps, before and after each validation, at the end, and on a signal.

    It always overwrites the same file. A checkpoint from before a validation records that, and a run that resumes
    from it begins with that validation. On SIGTERM, SIGUSR1 (which SLURM can send ahead of time) or SIGINT (Ctrl-C)
    the step is finished and saved, and `TrainingStopped` is raised in every process; a second signal kills.

    Args:
        path: The file.
        every_n_steps: Optimizer steps between saves.
        ends_process: Whether a second SIGINT kills, too. If not, as in a notebook, whose kernel it would end, it raises
            `TrainingStopped` at once.
    """

    def __init__(self, path: Path, every_n_steps: int, ends_process: bool = True) -> None:
        super().__init__()
        self._ends_process = ends_process
        self._path, self._every, self._saved = path, every_n_steps, 0
        self._validation_due, self._starts_finished = False, False
        self._signum: int | None = None
        self._handlers: dict[int, Any] = {}

    @classmethod
    def logged_steps(cls, checkpoint: dict[str, Any]) -> int:
        """Return the last step whose logs a run keeps when it resumes from this checkpoint."""
        due = checkpoint["callbacks"].get(cls.__name__, {}).get("validation_due")
        return checkpoint["global_step"] - bool(due)

    def state_dict(self) -> dict[str, Any]:
        """Return whether a validation is due."""
        return {"validation_due": self._validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether a validation is due."""
        self._validation_due = bool(state_dict.get("validation_due"))

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether the run has taken its last step already."""
        self._starts_finished = 0 < trainer.max_steps <= checkpoint["global_step"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Create the folder; let a run start of which only the last validation is left."""
        if trainer.is_global_zero:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._validation_due and self._starts_finished:
            trainer.fit_loop.epoch_loop.max_steps += 1  # until on_train_start

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run a validation that is due."""
        self._saved = trainer.global_step
        self._install_handlers(trainer)
        if not self._validation_due:
            return
        if self._starts_finished:
            trainer.fit_loop.epoch_loop.max_steps -= 1
            trainer.should_stop = True
        if not trainer.enable_validation:
            return
        validation = trainer.fit_loop.epoch_loop.val_loop
        validation.restarting = False
        trainer.validating = True
        validation.run()
        trainer.training = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a checkpoint is due."""
        step = trainer.global_step
        if step == self._saved or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if step >= trainer.max_steps > 0:
            trainer.should_stop = True  # makes the last step end in a validation, whatever the interval
        stop = self._stops(trainer)
        due = _validates_now(trainer)
        if stop or due or trainer.should_stop or step % self._every == 0:
            if not all(bool(parameter.isfinite().all()) for parameter in pl_module.parameters()):
                raise FloatingPointError(
                    f"a weight became NaN or infinite by step {step}; {self._path} is kept. Try a smaller optimizer.lr"
                )
            self._save(trainer, due)
        if stop:
            raise TrainingStopped(self._signum or signal.SIGTERM, self._saved)

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop on a signal: everything is saved already. Several processes continue until they can stop together."""
        if self._signum is not None and trainer.world_size == 1:
            raise TrainingStopped(self._signum, self._saved)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save that the validation is done."""
        self._save(trainer, validation_due=False)
        if self._stops(trainer):
            raise TrainingStopped(self._signum or signal.SIGTERM, self._saved)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        self._restore_handlers()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._restore_handlers()

    def _stops(self, trainer: L.Trainer) -> bool:
        """Return whether any process has received a signal, whose number all then have; all must call this together."""
        own = torch.tensor(self._signum or 0, device=trainer.strategy.root_device)
        signum = int(trainer.strategy.reduce(own, reduce_op="max"))
        if signum:  # otherwise one may have arrived meanwhile, which all stop for next time
            self._signum = signum
        return signum > 0

    def _save(self, trainer: L.Trainer, validation_due: bool) -> None:
        self._saved, self._validation_due = trainer.global_step, validation_due
        for logger in trainer.loggers:
            logger.save()  # the entries up to a checkpoint must be on disk before it
        trainer.save_checkpoint(self._path)

    def _install_handlers(self, trainer: L.Trainer) -> None:
        def handle(signum: int, frame: Any) -> None:
            if self._signum is not None:
                if signum == signal.SIGINT and not self._ends_process:
                    raise TrainingStopped(signum, self._saved)
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            self._signum = signum
            launcher = trainer.strategy.launcher
            if isinstance(launcher, _SubprocessScriptLauncher) and signum != signal.SIGINT:
                launcher.kill(signum)  # the other processes; a Ctrl-C reaches them all by itself

        for signum in SIGNALS:
            try:
                self._handlers[signum] = signal.signal(signum, handle)
            except ValueError:  # not the main thread, which alone can handle signals
                return

    def _restore_handlers(self) -> None:
        while self._handlers:
            signum, handler = self._handlers.popitem()
            signal.signal(signum, handler)


def _validates_now(trainer: L.Trainer) -> bool:
    """Return whether the batch that has just ended is followed by a validation."""
    if not trainer.enable_validation:
        return False
    every = trainer.val_check_batch
    return trainer.should_stop or (every is not None and (trainer.fit_loop.total_batch_idx + 1) % every == 0)
