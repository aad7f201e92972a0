"""`wavenet train`: compose, build, fit."""

import itertools
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from wavenet.atomic_files import atomic_folder, remove_partial_files, write_text
from wavenet.checkpoint import Trust, build_on_meta, describe, refusing
from wavenet.cli.command import command, plain
from wavenet.cli.preflight import (
    check_reloadable,
    check_run,
    fill_categories,
    make_dataset,
    optimizer_factory,
    training_settings,
)
from wavenet.cli.saved_config import kept, load_saved_config
from wavenet.cli.targets import resolve_user_class
from wavenet.cli.validation import arguments_of
from wavenet.data import Corpus, add_features, prepare, split
from wavenet.model import WaveNet
from wavenet.training import (
    AtomicCheckpointIO,
    AudioSamples,
    BestCheckpoint,
    DivergenceMonitor,
    ExponentialMovingAverage,
    LastCheckpoint,
    SegmentData,
    TrainingLog,
    TrainingProgress,
    TrainingStopped,
    WaveNetTraining,
    keep_freed_memory,
    kill_with_parent,
    read_resumable,
    run_metadata,
)
from wavenet.training.wandb_log import WandbLog

_ADAMW = "torch.optim.AdamW"  # the optimizer where none is named
_NAMED_ON_SCREEN = 10  # skipped recordings; the rest is in the run's skipped.txt


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        checkpoint: From which; None if there is none yet.
        purge_step: The first step whose log entries are made again.
    """

    checkpoint: Path | None
    purge_step: int


@command("train")
def main(cfg: DictConfig) -> None:
    """Train, or go on with a run."""
    _quiet()
    resumption = None
    if cfg.resume is not None:
        cfg, resumption = _resumed(cfg)
    kill_with_parent()
    outline = check_run(cfg)
    if cfg.trainer.accelerator == "cpu":
        keep_freed_memory()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    corpus = prepare(make_dataset(cfg.dataset), outline.sample_rate, **plain(cfg.preparation))
    fill_categories(cfg, corpus)
    model = instantiate(cfg.model, _convert_="all")
    check_reloadable(cfg, model)  # with all names
    corpus = add_features(corpus, model.features, trimmed=cfg.preparation.trim_db is not None)
    train, validation = split(corpus, cfg.validation_fraction)
    settings = {name: cfg[name] for name in ("seed", "batch_size", "segment_length")}
    model.metadata = run_metadata(train, validation, **settings, precision=cfg.trainer.precision)

    module = WaveNetTraining(model, **training_settings(cfg))
    data = SegmentData(
        train,
        validation,
        cfg.segment_length,
        model.receptive_field + model.margin,
        cfg.batch_size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
        margin=model.margin,
        frame=1 if model.context is None else model.context.pool,
    )
    if resumption is None and getattr(rank_zero_only, "rank", 0) == 0:
        cfg.run_dir = str(_free_name(Path(cfg.run_dir)))
    run = Path(cfg.run_dir)
    trainer = _trainer(cfg, run, model, validation, resumption and resumption.purge_step)
    if trainer.is_global_zero:  # nothing was written before everything was built
        remove_partial_files(run, deep=True)  # after a killed process
        _write_config(cfg, run)
        _introduce(trainer, model, corpus, train, validation, run)
    if isinstance(trainer.logger, WandbLog):
        trainer.logger.begin(kept(cfg))
    try:
        trainer.fit(module, data, ckpt_path=resumption and resumption.checkpoint, weights_only=True)
    except TrainingStopped as stopped:
        if trainer.is_global_zero:
            print(f"stopped  by {stopped}; go on with resume={run}")
        sys.exit(128 + stopped.signum)
    if trainer.is_global_zero:
        _conclude(trainer, run)


def _write_config(cfg: DictConfig, run: Path) -> None:
    """Put the config into the run's folder, which is made with it in it: there is no run that cannot resume."""
    text = OmegaConf.to_yaml(OmegaConf.create(kept(cfg)))
    if run.is_dir():
        write_text(run / "config.yaml", text)
        return
    try:
        with atomic_folder(run, sign="config.yaml") as beside:
            write_text(beside / "config.yaml", text)
    except OSError as error:
        error.filename = str(run)  # nobody knows the folder beside it
        raise


def _trainer(cfg: DictConfig, run: Path, model: WaveNet, validation: Corpus, purge_step: int | None) -> L.Trainer:
    settings = plain(cfg.trainer)
    logger: Any = False
    if cfg.logger:
        takes = arguments_of(resolve_user_class("logger", cfg.logger._target_))
        purges = {"purge_step": purge_step} if takes is None or "purge_step" in takes else {}
        logger = instantiate(cfg.logger, **purges)
    accumulated = settings.get("accumulate_grad_batches", 1)
    log = TrainingLog(cfg.batch_size * cfg.segment_length * accumulated, settings["log_every_n_steps"], purge_step)
    callbacks: list[Callback] = [
        log,
        DivergenceMonitor(model.distribution.baseline_bits),
        AudioSamples(run / "audio", validation, seed=cfg.seed, **plain(cfg.samples)),
        ExponentialMovingAverage(cfg.ema_decay),
    ]
    if settings["enable_progress_bar"]:
        callbacks.insert(1, TrainingProgress(log))
    if validation.utterances:
        callbacks.append(BestCheckpoint(run / "checkpoints" / "best.ckpt", "validation/bits_per_sample"))
        if settings["val_check_interval"] > settings["max_steps"] > 0:
            settings["val_check_interval"] = settings["max_steps"]
        settings["val_check_interval"] *= accumulated  # Lightning counts batches
    else:
        settings["limit_val_batches"] = 0
    callbacks.append(LastCheckpoint(run / "checkpoints" / "last.ckpt", cfg.save_every_n_steps))
    try:
        trainer = L.Trainer(
            **settings,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=run,
            logger=logger,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
        )
    except MisconfigurationException as error:
        raise ValueError(f"trainer: {error}") from error
    log.samples_per_step *= trainer.world_size
    return trainer


def _quiet() -> None:
    """Keep to ourselves what Lightning says to those who program with it."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r".*does not have many workers")
    warnings.filterwarnings(
        "ignore", r"The \.grad attribute of a Tensor that is not a leaf"
    )  # the compiler's own doing
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")


def _resumed(cfg: DictConfig) -> tuple[DictConfig, Resumption]:
    """The config of the run that is resumed, with the settings of this command line on top."""
    given = Path(cfg.resume)
    run = given if given.is_dir() else given.resolve().parent.parent
    for place in (given, run / "config.yaml"):
        if not place.exists():
            raise ValueError(f"resume={given}: {place} is not there; give a run's folder or its checkpoints/last.ckpt")
    run = run.resolve()
    checkpoint = run / "checkpoints" / "last.ckpt" if given.is_dir() else given
    trust = plain(cfg.trust)
    saved = load_saved_config(run / "config.yaml", cfg.preparation.cache_dir, trust)
    resumption = Resumption(None, 0)  # of a run that was killed before it first saved: it begins again
    if checkpoint.exists():
        trained = read_resumable(
            checkpoint, trust, optimizer_factory(saved)
        )  # a damaged or foreign one is refused here
        with refusing(run / "config.yaml", fix=""):
            _check_same(trained.model, saved, trust)
        resumption = Resumption(checkpoint, LastCheckpoint.logged_steps(trained.contents) + 1)
    own = saved.optimizer.get("_target_", _ADAMW)
    for override in HydraConfig.get().overrides.task:
        key = override.split("=", 1)[0].lstrip("+~").split("@")[0].replace("/", ".")
        if key == "experiment" or key.split(".")[0] == "model":
            raise ValueError(
                f"{override}: resume goes on with the run's own model; give single other settings, or a new run"
            )
        if key != "resume":
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
    asked = saved.optimizer.get("_target_", _ADAMW)
    if asked != own:
        raise ValueError(
            f"optimizer._target_ is {asked}; resume goes on with the run's {own}: leave it away, or begin a new run"
        )
    saved.run_dir, saved.trust = str(run), trust
    return saved, resumption


def _check_same(model: WaveNet, saved: DictConfig, trust: Trust) -> None:
    """Raise unless a saved config describes the checkpoint's model, and can be trained with."""
    same = build_on_meta(plain(saved.model), len(model.state_dict()), trust)
    said, own = describe(same), describe(model)
    for name in dict.fromkeys((*said, *own)):
        given, trained = said.get(name), own.get(name)
        if given != trained:
            raise ValueError(
                f"model.{name} is {given!r:.60}; resume goes on with the checkpoint's own, {trained!r:.60}"
            )
    WaveNetTraining(same, **training_settings(saved))


def _free_name(wanted: Path) -> Path:
    """The folder if there is none of that name, else with a number behind it."""
    names = itertools.chain([wanted], (wanted.with_name(f"{wanted.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _introduce(
    trainer: L.Trainer, model: WaveNet, corpus: Corpus, train: Corpus, validation: Corpus, run: Path
) -> None:
    """Say what is trained, on what, and what was left out."""
    rate, field = model.sample_rate, model.receptive_field
    parameters = sum(p.numel() for p in model.parameters())
    speakers = {u.conditions.get("speaker") for u in corpus.utterances}
    layers = model.stack.num_layers
    lines = [
        f"model    {layers} layers, {parameters / 1e6:.2f} M parameters, "
        f"receptive field {field} samples ({1000 * field / rate:.0f} ms), "
        f"{model.distribution.baseline_bits:g} bits a sample before learning",
        f"data     {corpus.name}: {len(speakers)} speaker(s), {train.seconds / 60:.1f} min in {len(train.utterances)} "
        f"utterances to learn, {validation.seconds / 60:.1f} min in {len(validation.utterances)} held out, {rate} Hz",
    ]
    if model.context is not None:
        main, far = model.stack.receptive_field, model.context.receptive_field
        lines.append(
            f"context  the stack sees {main} samples ({1000 * main / rate:.0f} ms), "
            f"the context stack {far} ({1000 * far / rate:.0f} ms)"
        )
    if model.conditioners:
        lines.append(f"told     {', '.join(model.conditioners)}")
    if corpus.trimmed_share > 0.0005:
        lines.append(f"trimmed  {100 * corpus.trimmed_share:.1f} % of the recordings' time, silence at the ends")
    if corpus.skipped:
        named = [str(skipped) for skipped in corpus.skipped]  # a line each, whatever is in their names
        write_text(run / "skipped.txt", "\n".join(named) + "\n")
        more = len(named) - _NAMED_ON_SCREEN
        lines.append(f"skipped  {len(named)} recording(s), listed in {run / 'skipped.txt'}:")
        lines += [f"           {line}" for line in named[:_NAMED_ON_SCREEN]] + [f"           and {more} more"] * (
            more > 0
        )
    where = f"{trainer.num_devices * trainer.num_nodes} x {trainer.strategy.root_device.type}, {trainer.precision}"
    if trainer.strategy.root_device.type == "cpu" and torch.cuda.is_available():
        where += "; a GPU is here: trainer=gpu"
    lines.append(f"run      {run} on {where}")
    print("\n".join(lines), flush=True)


def _conclude(trainer: L.Trainer, run: Path) -> None:
    """Say what there is now, and what to do with it."""
    bits: Any = trainer.callback_metrics.get("validation/bits_per_sample")
    learnt = "" if bits is None else f", {float(bits):.4f} bits per sample on held-out utterances"
    print(f"done     {trainer.global_step} steps{learnt}")
    print(f"listen   {run / 'audio'}, or: python scripts/generate.py checkpoint={run}")


if __name__ == "__main__":
    main()
