"""The trainer of a run, with its callbacks and its logger, from the run's settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from omegaconf import DictConfig

from wavenet.cli.command import plain
from wavenet.cli.literal import build
from wavenet.cli.preflight import chosen_callbacks
from wavenet.cli.resumption import AUTO
from wavenet.cli.saved_config import datasets_in, kept
from wavenet.cli.targets import resolve_user_class
from wavenet.data import Corpus
from wavenet.model import WaveNet
from wavenet.training import (
    Agreement,
    AtomicCheckpointIO,
    AudioSamples,
    BestCheckpoint,
    CSVLog,
    DivergenceMonitor,
    ExponentialMovingAverage,
    LastCheckpoint,
    Launch,
    ProcessMonitor,
    TrainingLog,
    TrainingProgress,
)
from wavenet.training.wandb_log import WandbLog

_OF_NODES = ("run_dir", "resume", "trust", "preparation", "logger", "num_workers")  # may differ
_OURS = ("timeout", "overfit_batches", "fast_dev_run")  # what the trainer is not told
_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
_PROFILE = "profile"  # folder
_MOST_ACTIONS = 10  # printed


def make_trainer(
    cfg: DictConfig,
    run: Path,
    model: WaveNet,
    train: Corpus,
    validation: Corpus,
    purge_step: int | None,
    monitor: ProcessMonitor,
    started: Launch | None,
    callbacks: Sequence[Callback] = (),
    logger: Logger | None = None,
    ends_process: bool = True,
) -> L.Trainer:
    """Create the trainer of a run.

    Args:
        cfg: The run's config.
        run: Its folder.
        model: Its model.
        train: Its training utterances.
        validation: Its held-out utterances.
        purge_step: In a run that goes on, the first step whose log entries are written again; else None.
        monitor: Watches its processes.
        started: How a launcher such as torchrun has started its processes; None if none has.
        callbacks: More callbacks than those of the config.
        logger: A logger in place of the config's; None takes that.
        ends_process: Whether a second Ctrl-C kills the process.

    Raises:
        ValueError: If Lightning refuses a setting.
    """
    settings = {name: value for name, value in plain(cfg.trainer).items() if name not in _OURS}
    if settings["num_nodes"] == AUTO:
        settings["num_nodes"] = 1 if started is None else started.num_nodes
    if started is not None and settings["devices"] in (AUTO, -1):
        settings["devices"] = started.devices
    is_done = purge_step is not None and purge_step > settings["max_steps"]  # nothing is left to profile
    settings["profiler"] = None if is_done else _profiler(settings["profiler"], run)
    accumulated = settings["accumulate_grad_batches"]
    log = TrainingLog(cfg.batch_size * cfg.segment_length * accumulated, settings["log_every_n_steps"], purge_step)
    every: list[Callback] = [
        monitor,
        Agreement({"training": train, "validation": validation}, _settings_of_all(cfg)),
        log,
        *([TrainingProgress(log)] if settings["enable_progress_bar"] else []),
        DivergenceMonitor(model.distribution.baseline_bits),
        AudioSamples(run / "audio", validation, seed=cfg.seed, **plain(cfg.samples)),
        ExponentialMovingAverage(cfg.ema_decay),
        *chosen_callbacks(cfg),
        *callbacks,
    ]
    if validation.utterances:
        every.append(BestCheckpoint(run / "checkpoints" / "best.ckpt", "validation/bits_per_sample"))
        if settings["val_check_interval"] > settings["max_steps"] > 0:
            settings["val_check_interval"] = settings["max_steps"]
        settings["val_check_interval"] *= accumulated  # Lightning counts batches
    else:
        settings["limit_val_batches"] = 0
    every.append(LastCheckpoint(run / "checkpoints" / "last.ckpt", cfg.save_every_n_steps, ends_process))
    try:
        trainer = L.Trainer(
            **settings,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=run,
            logger=_logger(cfg, purge_step) if logger is None else logger,
            callbacks=every,
            plugins=[AtomicCheckpointIO(), *([] if started is None else [started.environment])],
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise ValueError(f"trainer: {error}") from error
    monitor.let_wait(trainer)
    log.samples_per_step *= trainer.world_size
    return trainer


def print_profile(trainer: L.Trainer) -> None:
    """Print where most of the time has gone, if the profiler counts it, and where its files are."""
    profiler = trainer.profiler  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(profiler, SimpleProfiler):
        durations = profiler.recorded_durations
        slowest = sorted(((sum(each), len(each), action) for action, each in durations.items()), reverse=True)
        for total, calls, action in slowest[:_MOST_ACTIONS]:
            print(f"profile  {total:9.3f} s = {calls} x {1000 * total / calls:.3f} ms  {action}")
    if not isinstance(profiler, PassThroughProfiler):
        print(f"profile  {profiler.dirpath} has it all")


def _profiler(name: str | None, run: Path) -> Profiler | None:
    if name is None:
        return None
    unhooked = {"record_module_names": False} if name == "pytorch" else {}  # a model with hooks is not saved
    return _PROFILERS[name](dirpath=run / _PROFILE, filename=name, **unhooked)


def _logger(cfg: DictConfig, purge_step: int | None) -> Logger | bool:
    if not cfg.logger:
        return False
    purges = issubclass(resolve_user_class("logger", cfg.logger._target_), TensorBoardLogger | CSVLog | WandbLog)
    return build("logger", cfg.logger, **{"purge_step": purge_step} if purges else {})


def _settings_of_all(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings that must be the same in all processes; paths may differ between nodes."""
    settings = kept(cfg)
    for dataset in datasets_in(settings["dataset"]):
        dataset.pop("root", None)
    return {name: value for name, value in settings.items() if name not in _OF_NODES}
