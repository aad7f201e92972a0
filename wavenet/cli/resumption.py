"""Going on with a run: what its folder holds, and which settings apply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from wavenet.checkpoint import CheckpointError, Trust, build_on_meta, describe, refusing
from wavenet.cli.command import overrides_of_command, plain
from wavenet.cli.literal import literal, literals
from wavenet.cli.output import first_lines
from wavenet.cli.preflight import chosen_callbacks, optimizer_factory, training_settings
from wavenet.cli.saved_config import kept, load_saved_config
from wavenet.model import WaveNet
from wavenet.names import one_line
from wavenet.training import LastCheckpoint, WaveNetTraining, flat_settings, read_resumable

AUTO = "auto"
_ADAMW = "torch.optim.AdamW"  # the default optimizer
_OF_PLACES = ("resume", "run_dir", "trust", "preparation.cache_dir", "logger.save_dir", "init_from")  # not compared
_OF_BASE = ("model.", "optimizer.lr", "optimizer.adamw_lr")
_OF_NEW_RUNS = ("init_from", "freeze")
_MOST_PRINTED = 5  # settings that differ


@dataclass(frozen=True)
class Resumption:
    """A run to go on with, as plain data that the first process sends to the others.

    Attributes:
        run: Its folder.
        config: Its config.yaml.
        checkpoint: The checkpoint to continue from; None if it was killed before its first one, and starts again.
        purge_step: The first step whose log entries are written again.
        steps: Steps it has taken.
        segments: Segments used so far, if the checkpoint is of an earlier version that does not keep their number;
            None if it does, or if the number of processes is unknown.
    """

    run: str
    config: str
    checkpoint: str | None = None
    purge_step: int = 0
    steps: int = 0
    segments: int | None = None


def check_auto(cfg: DictConfig) -> None:
    """Check that `resume=auto` has a folder that names the run.

    Raises:
        ValueError: If the folder would be another one at each start.
    """
    if "${now:" in str(OmegaConf.to_container(cfg, resolve=False)["run_dir"]):  # type: ignore[index, call-overload]
        raise ValueError(
            "resume=auto goes on with the run in run_dir if there is one; give run_dir=FOLDER, the same at each start"
        )


def folder_to_resume(cfg: DictConfig) -> Path | None:
    """Return the folder of the run to go on with; None if there is none, and with `resume=auto` a new one begins.

    Raises:
        ValueError: If it is missing, or is no run's.
    """
    if cfg.resume == AUTO:
        run = Path(cfg.run_dir)
        if (run / "config.yaml").is_file():
            return run.resolve()
        if (run / "checkpoints").exists() or run.is_file():
            raise ValueError(f"resume=auto: {run} is no run's folder, as it has no config.yaml; give another run_dir")
        return None
    source = Path(cfg.resume)
    run = source if source.is_dir() else source.resolve().parent.parent
    for path in (source, run / "config.yaml"):
        if not path.exists():
            raise ValueError(
                f"resume={source}: {path} does not exist; give a run's folder or its checkpoints/last.ckpt"
            )
    return run.resolve()


def read_run(cfg: DictConfig, run: Path, callbacks: Sequence[Callback] = ()) -> Resumption:
    """Read and check what a run's folder holds.

    Args:
        cfg: The command's config.
        run: The folder.
        callbacks: Callbacks besides those of the run's config, whose states it may have as well.

    Raises:
        CheckpointError: If its config or its checkpoint is damaged, or from elsewhere.
        ValueError: If it cannot go on from there.
    """
    source = run if cfg.resume == AUTO else Path(cfg.resume)
    checkpoint = run / "checkpoints" / "last.ckpt" if source.is_dir() else source
    trust, path = plain(cfg.trust), run / "config.yaml"
    saved, text = load_saved_config(path, cfg.preparation.cache_dir, trust), path.read_text(encoding="utf-8")
    if not checkpoint.exists():
        _check_unsaved(cfg.resume, run)
        return Resumption(str(run), text)
    # a damaged checkpoint, or one from elsewhere, is refused here
    try:
        parts = {"callbacks": [*chosen_callbacks(saved), *callbacks], "frozen": plain(saved.freeze)}
        trained = read_resumable(checkpoint, trust, optimizer_factory(saved), **parts)
    except CheckpointError as error:
        best = run / "checkpoints" / "best.ckpt"
        if checkpoint == best or not best.exists():
            raise
        raise CheckpointError(error.reason, f"; resume from {best.name} beside it") from error
    with refusing(path, fix=""):
        _check_same(trained.model, saved, trust)
    return Resumption(
        str(run),
        text,
        str(checkpoint),
        LastCheckpoint.logged_steps(trained.contents) + 1,
        trained.contents["global_step"],
        _used_segments(trained.contents, saved),
    )


def resumed_config(cfg: DictConfig, found: Resumption, tell: Callable[[str], object]) -> DictConfig:
    """Return the config of a run that goes on: its own, with this command line's settings applied.

    Args:
        cfg: The command's config.
        found: The run.
        tell: Called with each line for the user.

    Raises:
        ValueError: If a setting does not fit the run.
    """
    trust, run = plain(cfg.trust), Path(found.run)
    saved = load_saved_config(run / "config.yaml", cfg.preparation.cache_dir, trust, found.config)
    before = saved.copy()
    is_auto = cfg.resume == AUTO
    for key, override in overrides_of_command().items():
        if key == "experiment" or key.split(".")[0] == "model":
            if is_auto:  # compared below
                continue
            raise ValueError(
                f"{override}: resume goes on with the run's own model; override single settings of other "
                "groups, or start a new run"
            )
        if key in _OF_NEW_RUNS and not is_auto:
            raise ValueError(
                f"{key}: resume goes on with the run's own; leave it out, or start a new run with init_from={run}"
            )
        if key not in ("resume", *_OF_NEW_RUNS, *(["run_dir"] * is_auto)):
            value = OmegaConf.select(cfg, key)
            given = literals(plain(value) if OmegaConf.is_config(value) else value)
            OmegaConf.update(saved, key, given, merge=False, force_add=True)
    _check_fits(saved, before, found)
    saved.run_dir, saved.trust = literal(found.run), trust
    if is_auto:
        _compare(cfg, saved, tell)
    return saved


def config_of_caller(cfg: DictConfig, found: Resumption, model: WaveNet | None, given: Mapping[str, str]) -> DictConfig:
    """Return the config of a run that goes on with the settings of a caller in Python.

    Args:
        cfg: The caller's config.
        found: The run.
        model: The caller's model; None if it has given another one's name, so that the run's own goes on.
        given: The caller's overrides, by their keys.

    Raises:
        ValueError: If they do not fit the run.
    """
    trust = plain(cfg.trust)
    saved = load_saved_config(Path(found.run) / "config.yaml", cfg.preparation.cache_dir, trust, found.config)
    own = describe(build_on_meta(plain(saved.model), trust=trust))
    if model is None:
        cfg.model = saved.model
        cfg.optimizer = cfg.optimizer if any(key.startswith("optimizer") for key in given) else saved.optimizer
    now = own if model is None else describe(model)
    for name in dict.fromkeys((*now, *own)):
        if now.get(name) != own.get(name):
            raise ValueError(
                f"model.{name} is {now.get(name)!r:.60}, and {own.get(name)!r:.60} in the run {found.run}, with "
                "which resume=True goes on; give another run_dir"
            )
    _check_fits(cfg, saved, found)
    cfg.run_dir = literal(found.run)
    return cfg


def _check_fits(cfg: DictConfig, saved: DictConfig, found: Resumption) -> None:
    """Check that the optimizer is still that of the run, and that it has steps left.

    Raises:
        ValueError: If not.
    """
    optimizer, before = (each.optimizer.get("_target_", _ADAMW) for each in (cfg, saved))
    if optimizer != before:
        raise ValueError(
            f"optimizer._target_ is {optimizer}; resume goes on with the run's {before}: remove the setting, or start "
            "a new run"
        )
    if 0 <= cfg.trainer.max_steps < found.steps:
        raise ValueError(
            f"trainer.max_steps is {cfg.trainer.max_steps}, but {found.checkpoint} is from step {found.steps}; give a "
            "larger number, or start a new run"
        )


def _compare(cfg: DictConfig, saved: DictConfig, tell: Callable[[str], object]) -> None:
    """Say which settings of the command's config a run that goes on does not take, because it has its own.

    Raises:
        ValueError: If they describe another model.
    """
    now, own = flat_settings(kept(cfg)), flat_settings(kept(saved))
    given = overrides_of_command()
    lines = []
    for key in sorted(now.keys() | own.keys(), key=lambda each: (each not in given, each)):
        differ = now.get(key) != own.get(key) and key not in _OF_PLACES
        if not differ or (cfg.init_from is not None and key not in given and key.startswith(_OF_BASE)):
            continue  # the run has what follows from the model that it began with
        if key.endswith(".categories") and now.get(key) is None:  # filled in from the recordings
            continue
        if key.startswith("model."):
            raise ValueError(
                f"{key} is {now.get(key)!r:.60}, and {own.get(key)!r:.60} in the run {saved.run_dir}, with which "
                "resume=auto goes on; give another run_dir"
            )
        lines.append(f"kept     {key} is {own.get(key)!r:.60}, as in the run; the configs have {now.get(key)!r:.60}")
    for line in first_lines(lines, _MOST_PRINTED):
        tell(one_line(line))


def _check_unsaved(resume: str, run: Path) -> None:
    """Check that a run without last.ckpt was never saved: starting over would replace what it has."""
    missing, best = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt"
    if best.exists():
        raise ValueError(
            f"resume={resume}: {missing} does not exist; continue from the best validation, with resume={best}"
        )
    if any(path.is_file() for path in (run / "audio").rglob("*")):
        raise ValueError(
            f"resume={resume}: {missing} does not exist, but {run / 'audio'} has audio of an earlier training; "
            "restore the checkpoint, or start a new run"
        )


def _used_segments(contents: dict[str, Any], saved: DictConfig) -> int | None:
    """Return how many segments a run has used, from its steps and settings, if its checkpoint does not keep that."""
    devices, nodes = saved.trainer.get("devices", 1), saved.trainer.get("num_nodes", 1)
    if nodes == AUTO and saved.trainer.strategy == "auto":  # one process
        nodes = 1
    if "SegmentData" in contents or not isinstance(devices, int) or devices < 1 or not isinstance(nodes, int):
        return None
    accumulated = saved.trainer.get("accumulate_grad_batches", 1)
    return contents["global_step"] * accumulated * saved.batch_size * devices * nodes


def _check_same(model: WaveNet, saved: DictConfig, trust: Trust) -> None:
    """Check that a saved config describes the checkpoint's model, and that its training settings are accepted."""
    configured = build_on_meta(plain(saved.model), len(model.state_dict()), trust)
    expected, loaded = describe(configured), describe(model)
    for name in dict.fromkeys((*expected, *loaded)):
        if expected.get(name) != loaded.get(name):
            raise ValueError(
                f"model.{name} is {expected.get(name)!r:.60}; "
                f"resume goes on with the checkpoint's own, {loaded.get(name)!r:.60}"
            )
    WaveNetTraining(configured, **training_settings(saved))
