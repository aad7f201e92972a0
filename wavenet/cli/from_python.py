"""Training from Python or a notebook: `wavenet.train` does what the command does, with objects in place of settings."""

import base64
import html
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose
from hydra.errors import HydraException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from wavenet.checkpoint import describe
from wavenet.cli.arguments import (
    KEYS,
    check_arguments,
    check_experiment,
    check_objects,
    check_processes,
    naming_arguments,
)
from wavenet.cli.command import config_dir, key_of
from wavenet.cli.composition import hydra_in
from wavenet.cli.errors import explain_composition_error
from wavenet.cli.literal import literal, literals
from wavenet.cli.quoting import quoted
from wavenet.cli.resumption import AUTO
from wavenet.cli.train import Given
from wavenet.cli.train import train as train_run
from wavenet.cli.validation import check
from wavenet.data import Dataset
from wavenet.data.folder import Folder
from wavenet.model import WaveNet
from wavenet.training import TrainingStopped
from wavenet.training.checkpointing import SIGNALS


@dataclass(frozen=True)
class TrainedRun:
    """A run that has ended; a notebook shows its bits and its last samples.

    Attributes:
        folder: Its folder, with checkpoints, logs and audio; `wavenet.load` takes it.
        bits_per_sample: On held-out utterances; None if none were held out.
    """

    folder: Path
    bits_per_sample: float | None

    @property
    def sounds(self) -> list[Path]:
        """The last samples: for each speaker, generated audio and a held-out recording."""
        steps = sorted(self.folder.glob("audio/step-*"))
        return sorted(steps[-1].glob("*.wav")) if steps else []

    def _repr_html_(self) -> str:
        bits = self.bits_per_sample
        found = "" if bits is None else f", {bits:.4f} bits per sample on held-out utterances"
        players = "".join(map(_player, self.sounds))
        return f"<p>{html.escape(str(self.folder))}{found}</p><table>{players}</table>"


def train(
    model: WaveNet | str | os.PathLike[str],
    dataset: Dataset | str | os.PathLike[str],
    run_dir: str | os.PathLike[str] | None = None,
    *,
    steps: int = 12000,
    batch_size: int = 1,
    segment_length: int = 2000,
    optimizer: str = "soap",
    lr: float | None = None,
    validate_every: int = 4000,
    validation_fraction: float = 0.1,
    seed: int = 0,
    device: str = "auto",
    logger: Logger | str = "tensorboard",
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    settings: Sequence[str] = (),
) -> TrainedRun:
    """Train a model, as `wavenet train` does: same checks, same files, same defaults, in one process.

    The model is trained in place, and in the end, or after an interrupt, has the averaged weights, on the CPU. If the
    name of a trained model is given instead, such as "babble" or a run's folder, a copy of it is adapted to the
    dataset, as by the command with `init_from=`: with a place for new speakers, and at 0.3 times the learning rate. The
    run's folder can be resumed, evaluated and generated from like any other, also by the commands.

    Args:
        model: The model, whose conditioners must know the dataset's names, such as its speakers; or the name of one.
        dataset: A dataset, such as `wavenet.data.prompts.Prompts()`, whose class is in a module; or a folder with
            recordings.
        run_dir: The run's folder. If it exists, a number is appended; None is a new one in runs/.
        steps: Optimizer steps in all.
        batch_size: Segments in a step of each process.
        segment_length: Samples predicted in a segment.
        optimizer: "soap", "adamw" or "muon".
        lr: Peak learning rate; None is that of the optimizer's config.
        validate_every: Steps between validations.
        validation_fraction: Fraction of each speaker's utterances that is held out.
        seed: Seed of the segments and of the sampled audio.
        device: "cpu", "gpu", or "auto": a GPU if there is one.
        logger: "tensorboard", "csv", "wandb", "none", or a logger of Lightning's.
        callbacks: Lightning callbacks, in addition to those of every run.
        resume: Whether to go on with the run in run_dir if it is there, with the settings of this call.
        settings: Any others, as the command line takes them, such as ["ema_decay=0.99"].

    Returns:
        The run.

    Raises:
        ValueError: If a setting is wrong, or model and dataset do not fit; names it.
        KeyboardInterrupt: If it was interrupted; it is saved, and resume=True goes on. A second interrupt does not wait
            for the end of the step.
    """
    if isinstance(dataset, str | os.PathLike):
        dataset = Folder(dataset)
    numbers = {
        "steps": steps, "batch_size": batch_size, "segment_length": segment_length, "lr": lr,
        "validate_every": validate_every, "validation_fraction": validation_fraction, "seed": seed,
    }  # fmt: skip
    check_arguments(numbers, device)
    gpu = device == "gpu" or (device == "auto" and torch.cuda.is_available())
    given = [
        f"optimizer={optimizer}", f"trainer={'gpu' if gpu else 'cpu'}",
        f"logger={'none' if isinstance(logger, Logger) else logger}",
        *(f"{KEYS[name]}={value}" for name, value in numbers.items() if value is not None),
    ]  # fmt: skip
    own_settings = {key_of(each): each for each in settings}
    overrides = own_settings | ({} if lr is None else {"optimizer.lr": f"{lr}"})
    check_objects(model, overrides)
    if resume and run_dir is None:
        raise ValueError("resume=True goes on with the run in run_dir; give run_dir=FOLDER")
    cfg = _composed([*given, *settings])
    if "experiment" in overrides:
        without = _composed([*given, *(each for key, each in own_settings.items() if key != "experiment")])
        check_experiment(model, overrides["experiment"], cfg, without)
    cfg.dataset = literals(describe(dataset))
    if isinstance(model, WaveNet):
        cfg.model = literals(describe(model))
    else:
        cfg.init_from = literal(os.fspath(model))
    if run_dir is not None:
        cfg.run_dir = literal(os.fspath(run_dir))
    cfg.resume = AUTO if resume else None
    own = logger if isinstance(logger, Logger) else None
    network = model if isinstance(model, WaveNet) else None
    parts = Given(network, dataset, callbacks, own, overrides | ({} if network else {"init_from": f"{model}"}))
    try:
        with naming_arguments(own_settings):
            check("train", cfg)
            check_processes(cfg)
            bits, folder = _run(cfg, parts)
    except TrainingStopped as stopped:
        raise KeyboardInterrupt(f"{stopped}; resume=True goes on, with run_dir={cfg.run_dir!r}") from None
    return TrainedRun(folder, bits)


def _run(cfg: DictConfig, parts: Given) -> tuple[float | None, Path]:
    """Train; after an error the model says of itself what it did before."""
    model = parts.model
    with _kept_signals(), ExitStack() as held, _isolated_rng(), warnings.catch_warnings():
        if model is None:
            return train_run(cfg, held, parts)
        metadata, was_training = model.metadata, model.training
        try:
            ended = train_run(cfg, held, parts)
        except TrainingStopped:
            model.eval()
            raise
        except BaseException:
            model.metadata = metadata
            model.train(was_training)
            raise
        model.eval()
        return ended


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Restore the handlers of signals, which Lightning does not always do."""
    before = [(signum, signal.getsignal(signum)) for signum in SIGNALS]
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # which alone can handle signals
            for signum, handler in before:
                signal.signal(signum, handler)


@contextmanager
def _isolated_rng() -> Iterator[None]:
    """Restore the states of random number generators, also after an error; Lightning's own does not."""
    isolated = isolate_rng()
    isolated.__enter__()
    try:
        yield
    finally:
        isolated.__exit__(None, None, None)


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Return the config of a run; an application that uses Hydra itself keeps its state."""
    try:
        with hydra_in(config_dir()):
            return compose("train", quoted("train", overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain_composition_error(error, "train", config_dir(), overrides)) from error


def _player(path: Path) -> str:
    """Return a table's row that plays a WAV file."""
    name, sound = html.escape(path.stem), base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<tr><td>{name}</td><td><audio controls src="data:audio/wav;base64,{sound}"></audio></td></tr>'
