"""`wavenet train`: compose the config, build the model and the data, and train."""

import dataclasses
import itertools
import logging
import os
import shlex
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from wavenet.atomic_files import atomic_folder, remove_partial_files, write_text
from wavenet.checkpoint import number_at
from wavenet.cli.built import fill_categories, make_dataset
from wavenet.cli.command import command, overrides_of_command, plain
from wavenet.cli.initial import describe_own_weights, describe_transfer, known_names, load_initial, name_of_initial
from wavenet.cli.literal import build, literal, literals
from wavenet.cli.output import first_lines, print_error
from wavenet.cli.preflight import (
    check_reloadable,
    check_run,
    data_settings,
    training_settings,
)
from wavenet.cli.resumption import (
    AUTO,
    Resumption,
    check_auto,
    config_of_caller,
    folder_to_resume,
    read_run,
    resumed_config,
)
from wavenet.cli.saved_config import kept
from wavenet.cli.sweeps import add_result, folder_in_sweep, is_sweep
from wavenet.cli.trainer import make_trainer, print_profile
from wavenet.conditioning import CategoricalEmbedding
from wavenet.data import Corpus, Dataset, add_features, parts_of, prepare, shares_of, split
from wavenet.model import WaveNet
from wavenet.names import listed, one_line
from wavenet.training import (
    EarlyStopping,
    ExponentialMovingAverage,
    Launch,
    ProcessMonitor,
    Rendezvous,
    SegmentData,
    TrainingStopped,
    WaveNetTraining,
    flush_denormal_numbers,
    freeze,
    hold,
    keep_freed_memory,
    kill_with_parent,
    launch,
    log_settings,
    run_metadata,
    take_weights,
)
from wavenet.training.wandb_log import WandbLog

_FAST_SECONDS = 0.05  # of each sample with trainer.fast_dev_run
_MAX_SKIPPED_PRINTED = 10  # recordings; the rest are in the run's skipped.txt
_MAX_RENAMED_PRINTED = 6  # speakers; the rest are in the run's config.yaml


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Train a new run, or resume one.

    Returns:
        Bits per sample on held-out utterances, which a sweeper may minimise; None if none were held out.
    """
    sweep = Path(cfg.run_dir) if is_sweep() and cfg.resume is None else None
    if sweep is not None:
        cfg.run_dir = literal(folder_in_sweep(cfg.run_dir))
    with ExitStack() as held:
        try:
            bits, run = train(cfg, held)
        except TrainingStopped as stopped:  # it is printed
            sys.exit(128 + stopped.signum)
    if sweep is not None and _is_first() and not cfg.trainer.fast_dev_run:
        add_result(sweep, run, bits)
    return bits


@dataclass(frozen=True)
class Given:
    """Parts of a run that a caller in Python has built, in place of those that the config describes.

    Attributes:
        model: The model; None for the config's.
        dataset: The dataset.
        callbacks: More callbacks.
        logger: A logger; None for the config's.
        overrides: Settings that the caller has given, by their keys, as on a command line.
    """

    model: WaveNet | None
    dataset: Dataset
    callbacks: Sequence[Callback] = ()
    logger: Logger | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)


def train(cfg: DictConfig, held: ExitStack, given: Given | None = None) -> tuple[float | None, Path]:
    """Train; a run's folder is held until the end, before anything in it is read or written.

    Args:
        cfg: The run's config.
        held: What ends with the run.
        given: Parts of a caller in Python; None for a command.

    Returns:
        Bits per sample on held-out utterances, and the run's folder.

    Raises:
        TrainingStopped: If a signal has stopped it.
    """
    silence_lightning()
    started = launch()
    rendezvous = Rendezvous.join(started, cfg.trainer.timeout, "trainer.timeout")
    held.callback(rendezvous.close)
    cfg, resumption = _settled(cfg, rendezvous, held, given)
    if given is None:
        kill_with_parent()
    source = load_initial(cfg, resumption, overrides_of_command() if given is None else given.overrides)
    meta_model = check_run(cfg)
    if cfg.trainer.accelerator == "cpu":
        keep_freed_memory()
        held.enter_context(flush_denormal_numbers())
    if cfg.trainer.fast_dev_run:
        _make_fast(cfg, resumption, held)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    model, corpus = _model_and_corpus(cfg, meta_model.sample_rate, rendezvous, source, given)
    training, validation = _split(corpus, cfg.validation_fraction)
    checkpoint = None if resumption is None or resumption.checkpoint is None else Path(resumption.checkpoint)
    base = _base(cfg, source, given) if checkpoint is None else None  # which the checkpoint has
    begun = [] if base is None else _begin_with(cfg, model, source)
    begun += [] if resumption is None else [f"from     step {resumption.steps}"]
    freeze(model, plain(cfg.freeze))
    settings = {name: cfg[name] for name in ("seed", "batch_size", "segment_length")}
    model.metadata = run_metadata(training, validation, base, **settings, precision=cfg.trainer.precision)

    module = WaveNetTraining(model, **training_settings(cfg))
    data = SegmentData(training, validation, **data_settings(cfg, model))
    if resumption is not None and resumption.segments is not None:
        data.load_state_dict({"segments": resumption.segments})
    if resumption is None:
        cfg.run_dir = literal(rendezvous.from_first("folder", lambda: _new_folder(cfg)))
    run = Path(cfg.run_dir)
    monitor = ProcessMonitor(cfg.trainer.timeout, _end_waiting)
    held.callback(monitor.close)
    more = {} if given is None else {"callbacks": given.callbacks, "logger": given.logger, "ends_process": False}
    purge_step = None if resumption is None else resumption.purge_step
    trainer = make_trainer(cfg, run, model, training, validation, purge_step, monitor, started, **more)
    _check_sweep(trainer, started)
    if trainer.is_global_zero:  # nothing is written before everything is built
        _begin(cfg, run, resumption is None, held)
        _print_start(trainer, model, corpus, training, validation, run, begun)
        log_settings([each for each in trainer.loggers if not isinstance(each, WandbLog)], kept(cfg))
    if isinstance(trainer.logger, WandbLog):
        trainer.logger.begin(kept(cfg))
    _fit(trainer, module, data, run, checkpoint, monitor)
    model.metadata = module.current_metadata()
    bits = _held_out_bits(trainer, model.metadata) if validation.utterances else None
    if trainer.is_global_zero:
        _print_end(trainer, bits, None if cfg.trainer.fast_dev_run else run, _what_to_hear(model, training))
    return bits, run


def _settled(
    cfg: DictConfig, rendezvous: Rendezvous, held: ExitStack, given: Given | None
) -> tuple[DictConfig, Resumption | None]:
    """Find the run to go on with, if there is one, and return the settings that then apply."""
    if cfg.resume == AUTO:
        check_auto(cfg)
    resumption = _resumption(cfg, rendezvous, held, () if given is None else given.callbacks)
    if resumption is None:
        return cfg, None
    if given is not None:
        return config_of_caller(cfg, resumption, given.model, given.overrides), resumption
    return resumed_config(cfg, resumption, print if _is_first() else lambda line: None), resumption


def _model_and_corpus(
    cfg: DictConfig, sample_rate: int, rendezvous: Rendezvous, source: WaveNet | None, given: Given | None
) -> tuple[WaveNet, Corpus]:
    """Prepare the dataset's audio and features, of several processes in the first, and build the model for it."""
    dataset = make_dataset(cfg.dataset) if given is None else given.dataset
    settings = plain(cfg.preparation)
    corpus = rendezvous.after_first("audio", lambda: prepare(dataset, sample_rate, **settings))
    fill_categories(cfg, corpus, None if source is None else known_names(source))
    model = build("model", cfg.model) if given is None or given.model is None else given.model.train()
    check_reloadable(cfg, model)  # now with all category names
    trimmed = cfg.preparation.trim_db is not None
    return model, rendezvous.after_first("features", lambda: add_features(corpus, model.features, trimmed=trimmed))


def _split(corpus: Corpus, validation_fraction: float) -> tuple[Corpus, Corpus]:
    train, validation = split(corpus, validation_fraction)
    if not train.utterances:
        raise ValueError(
            f"dataset '{corpus.name}': all {len(corpus.utterances)} recordings are in its lists of held-out ones; add "
            "recordings to train on"
        )
    return train, validation


def _base(cfg: DictConfig, source: WaveNet | None, given: Given | None) -> tuple[str, dict[str, Any] | None] | None:
    """Return the name and the metadata of the model whose weights a run begins with; None if it begins at random."""
    if source is not None:
        return name_of_initial(cfg), source.metadata
    model = None if given is None else given.model
    return None if model is None or model.metadata is None else ("an earlier model", model.metadata)


def _begin_with(cfg: DictConfig, model: WaveNet, source: WaveNet | None) -> list[str]:
    """Give a model the weights that it begins with, if it has not got them; return lines about them."""
    if source is None:
        return [describe_own_weights(model)]
    return describe_transfer(cfg, model, source, take_weights(model, source))


def _make_fast(cfg: DictConfig, resumption: Resumption | None, held: ExitStack) -> None:
    """Change a config so that a few steps try everything, in a folder that is removed at the end.

    Raises:
        ValueError: If the run goes on with one that is kept.
    """
    if resumption is not None:
        raise ValueError("trainer.fast_dev_run keeps nothing, and resume goes on with a run; remove one of them")
    steps = int(cfg.trainer.fast_dev_run)
    cfg.trainer.update(max_steps=steps, val_check_interval=steps, limit_val_batches=steps)
    cfg.samples.update({name: min(cfg.samples[name], _FAST_SECONDS) for name in ("seconds", "final_seconds")})
    cfg.logger = {}
    cfg.run_dir = literal(str(Path(held.enter_context(TemporaryDirectory(prefix="wavenet-"))) / "run"))


def _held_out_bits(trainer: L.Trainer, metadata: dict[str, Any]) -> float | None:
    """Return the bits of the last validation, which may have been before a run went on that had taken all its steps."""
    bits = trainer.callback_metrics.get("validation/bits_per_sample")
    return number_at(metadata, "validation", "bits_per_sample") if bits is None else float(bits)


def _check_sweep(trainer: L.Trainer, started: Launch | None) -> None:
    """Check that Lightning does not start the processes of a sweep's runs: it would with this command line."""
    if is_sweep() and started is None and trainer.world_size > 1:
        raise ValueError(
            f"-m: each run would have {trainer.world_size} processes, and the others of a run would sweep, too; give "
            "trainer.devices=1, or let SLURM start the processes (hydra/launcher=submitit_slurm)"
        )


def _begin(cfg: DictConfig, run: Path, is_new: bool, held: ExitStack) -> None:
    """Write the config, and hold the folder of a new run; that of one that goes on is held already."""
    is_there = run.is_dir()  # with resume=auto, also one without a run
    if is_new and is_there:
        held.enter_context(hold(run))
    remove_partial_files(run, deep=True)  # left by a killed process
    _write_config(cfg, run)
    if is_new and not is_there:
        held.enter_context(hold(run))


def _resumption(
    cfg: DictConfig, rendezvous: Rendezvous, held: ExitStack, callbacks: Sequence[Callback]
) -> Resumption | None:
    """Return what the first process finds of the run to go on with; None if a new one begins.

    Raises:
        ValueError: If it cannot go on; or if its folder is on another machine than the first process.
    """

    def find() -> dict[str, Any] | None:
        run = folder_to_resume(cfg)
        if run is None:
            return None
        if _is_first():
            held.enter_context(hold(run))
        return dataclasses.asdict(read_run(cfg, run, callbacks))

    if cfg.resume is None:
        return None
    path = Path(cfg.run_dir) / "config.yaml" if cfg.resume == AUTO else Path(cfg.resume)
    hosts = rendezvous.gather("hosts", [socket.gethostname(), path.exists()])
    elsewhere = next((f"{host} (process {rank})" for rank, (host, exists) in enumerate(hosts) if exists), None)
    if elsewhere and not hosts[0][1]:
        raise ValueError(
            f"{path} is on {elsewhere}, but not on {hosts[0][0]}, where process 0 runs, which alone reads and writes "
            "it; share the folder between the machines, or start process 0 where it is"
        )
    found = rendezvous.from_first("run", find)
    return None if found is None else Resumption(**found)


def _new_folder(cfg: DictConfig) -> str:
    """Return the folder of a new run, which the first process chooses."""
    run = Path(cfg.run_dir)
    return str(run if cfg.resume == AUTO or not _is_first() else _free_name(run))


def _fit(
    trainer: L.Trainer,
    module: WaveNetTraining,
    data: SegmentData,
    run: Path,
    checkpoint: Path | None,
    monitor: ProcessMonitor,
) -> None:
    """Train; also if it is stopped, the model then has the averaged weights."""
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        _take_average(trainer, module)
    except TrainingStopped as stopped:
        _take_average(trainer, module)
        module.model.metadata = module.current_metadata()
        if trainer.is_global_zero:
            print(f"stopped  by {stopped}; continue with resume={run}")
        raise
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # before the first step; Lightning exits then
            raise KeyboardInterrupt from None
        raise
    except MisconfigurationException as error:  # of a callback or a logger
        raise ValueError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        missing = None if isinstance(error, torch.OutOfMemoryError) else monitor.missing_after_error(error)
        if missing is None:
            raise
        raise ValueError(f"{missing}. What was saved is kept: continue with resume={run}") from error


def _take_average(trainer: L.Trainer, module: WaveNetTraining) -> None:
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, ExponentialMovingAverage):
            callback.on_train_end(trainer, module)


def _end_waiting(reason: str) -> NoReturn:
    """End a process whose main thread waits for another process, and cannot be woken."""
    print(file=sys.stderr)  # below the progress bar
    print_error("wavenet train", reason)
    os._exit(2)


def _write_config(cfg: DictConfig, run: Path) -> None:
    """Write the config into the run's folder, which is created together with it, so that every run can be resumed."""
    text = OmegaConf.to_yaml(OmegaConf.create(literals(kept(cfg))))
    if run.is_dir():
        write_text(run / "config.yaml", text)
        return
    try:
        with atomic_folder(run, sign="config.yaml") as beside:
            write_text(beside / "config.yaml", text)
    except OSError as error:
        error.filename = str(run)  # not the temporary folder beside it
        raise


def silence_lightning() -> None:
    """Suppress Lightning's messages for programmers."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r".*does not have many workers")
    warnings.filterwarnings(
        "ignore", r"The \.grad attribute of a Tensor that is not a leaf"
    )  # caused by the compiler itself
    warnings.filterwarnings("ignore", r"Be aware that when using `ckpt_path`, callbacks")  # they may be left out
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")


def _is_first() -> bool:
    """Whether this is the first process of the run, as far as its environment tells before the others are started."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _free_name(folder: Path) -> Path:
    """Return the folder if it does not exist yet, else its name with the first free number appended."""
    names = itertools.chain([folder], (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _print_start(
    trainer: L.Trainer,
    model: WaveNet,
    corpus: Corpus,
    train: Corpus,
    validation: Corpus,
    run: Path,
    begun: list[str],
) -> None:
    """Print the model, what it begins with, the data, what was skipped, and the hardware."""
    rate, receptive_field = model.sample_rate, model.receptive_field
    parameters = sum(p.numel() for p in model.parameters())
    layers = model.stack.num_layers
    lines = [
        f"model    {layers} layers, {parameters / 1e6:.2f} M parameters, "
        f"receptive field {receptive_field} samples ({1000 * receptive_field / rate:.0f} ms), "
        f"{model.distribution.baseline_bits:g} bits per sample at chance level",
        f"data     {corpus.name}: {corpus.columns.num_speakers} speaker(s), {train.seconds / 60:.1f} min in "
        f"{len(train.utterances)} utterances for training, {validation.seconds / 60:.1f} min in "
        f"{len(validation.utterances)} held out, {rate} Hz",
    ]
    lines += _of_parts(train)
    if model.context is not None:
        stack, context = model.stack.receptive_field, model.context.receptive_field
        lines.append(
            f"context  the stack sees {stack} samples ({1000 * stack / rate:.0f} ms), "
            f"the context stack {context} ({1000 * context / rate:.0f} ms)"
        )
    if model.conditioners:
        lines.append(f"given    {', '.join(model.conditioners)}")
    lines += begun
    lines += _unseen(model, train, validation)
    if corpus.trimmed_share > 0.0005:
        lines.append(f"trimmed  {100 * corpus.trimmed_share:.1f} % of the recordings' time, silence at the ends")
    if corpus.skipped:
        skipped_lines = [str(skipped) for skipped in corpus.skipped]  # one line each, also if a name has line breaks
        write_text(run / "skipped.txt", "\n".join(skipped_lines) + "\n")
        lines.append(f"skipped  {len(skipped_lines)} recording(s), listed in {run / 'skipped.txt'}:")
        lines += first_lines([f"           {line}" for line in skipped_lines], _MAX_SKIPPED_PRINTED)
    hardware = f"{trainer.num_devices * trainer.num_nodes} x {trainer.strategy.root_device.type}, {trainer.precision}"
    if trainer.strategy.root_device.type == "cpu" and torch.cuda.is_available():
        hardware += "; a GPU is available: trainer=gpu"
    lines.append(f"run      {run} on {hardware}")
    print("\n".join(lines), flush=True)


def _of_parts(train: Corpus) -> list[str]:
    """Return a line with the parts of a mix, and one with the speakers that several of them have."""
    parts = parts_of(train)
    if not parts:
        return []
    each = [
        f"{part.name} {part.corpus.seconds / 60:.1f} min, {100 * share:.1f} % of the segments"
        for part, share in zip(parts, shares_of(parts), strict=True)
    ]
    lines = [f"parts    {'; '.join(each)}"]
    renamed = [name for _, name in sorted(pair for part in parts for pair in part.speakers.items())]
    if renamed:
        lines.append(
            f"speakers {one_line(listed(renamed, _MAX_RENAMED_PRINTED))}: kept apart, as several parts have these "
            "names; one person each: dataset.same_speakers=true"
        )
    return lines


def _unseen(model: WaveNet, train: Corpus, validation: Corpus) -> list[str]:
    """Return a line for each condition with held-out values that training has not, whose embeddings stay untrained."""
    lines = []
    for conditioner in model.conditioners.values():
        if isinstance(conditioner, CategoricalEmbedding) and validation.utterances:
            held_out = set(validation.values(conditioner.name))
            unseen = held_out - set(train.values(conditioner.name))
            if unseen:
                lines.append(
                    f"unseen   {conditioner.name}: {len(unseen)} of {len(held_out)} held-out values are in no training "
                    "recording, so the model does not learn them; hold out others, or leave the condition out"
                )
    return lines


def _what_to_hear(model: WaveNet, training: Corpus) -> str:
    """Return what the generate command needs besides the run to make what it was trained on, as its last argument."""
    if model.features:
        return " mel_from=RECORDING"
    speakers = [each for each in model.conditioners.values() if each.name == "speaker"]
    if not speakers or not isinstance(speakers[0], CategoricalEmbedding):
        return ""
    name = training.values("speaker")[0]
    return "" if name == speakers[0].categories[0] else f" {shlex.quote(f'speaker={name}')}"


def _print_end(trainer: L.Trainer, bits: float | None, run: Path | None, what: str) -> None:
    """Print the profile, why the run has ended before its last step, its result and how to hear it, if it is kept."""
    print_profile(trainer)
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, EarlyStopping) and callback.reason:
            print(f"early    callbacks.early_stopping: {callback.reason}")
        remaining = callback.time_remaining() if isinstance(callback, Timer) else None
        if remaining is not None and remaining <= 0:
            print(f"early    trainer.max_time is over; resume={run or 'RUN'} trainer.max_time=null goes on")
    result = "" if bits is None else f", {bits:.4f} bits per sample on held-out utterances"
    print(f"done     {trainer.global_step} steps{result}")
    if run is None:
        print("kept     nothing, as trainer.fast_dev_run asks for")
        return
    print(f"listen   {run / 'audio'}, or: python scripts/generate.py checkpoint={run}{what}")


if __name__ == "__main__":
    main()
