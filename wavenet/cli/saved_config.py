"""Loading of a run's saved configuration, which is treated as an untrusted file.

It is plain YAML with the settings of `configs/` and nothing else: it may name only classes of this package and of
modules that the user trusts, it may not contain instructions of Hydra or OmegaConf, and it decides neither where files
are written nor whether something is downloaded.
"""

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from wavenet.bounds import check_batch
from wavenet.checkpoint import (
    Trust,
    check_arguments,
    check_plain,
    is_own,
    modules_of,
    read_text,
    refusing,
    upgrade_model,
)
from wavenet.cli.command import plain
from wavenet.cli.config_files import config_dir
from wavenet.cli.literal import is_literal, literal, literals
from wavenet.cli.schema import type_of_setting
from wavenet.cli.targets import LOGGERS, SCHEDULE, WANDB, resolve_class
from wavenet.data import Mix
from wavenet.types import format_value

_LIMIT = 2**20  # bytes
_MAX_EVENTS = 20_000  # of YAML, about as many as values; the parser is slow
_MAX_DEPTH = 16
_MAX_FILES = 100_000  # in a run's folder
_TEXT = "tag:yaml.org,2002:str"
_NUMBER = re.compile(r"[-+]?\.?\d[\d_:.]*([eE][-+]?\d+)?")  # OmegaConf reads more of these than YAML does
_WANDB_LOGS = re.compile(r"wandb/(?:offline-)?run-(\d{8}_\d{6})-\w+/logs")
_GROUPS = ("dataset", "model", "optimizer", "trainer", "logger", "callbacks")
_FIRST = {  # settings that runs of all versions have; the group's others came later, and are filled in from this file
    "trainer": (
        "base",
        (
            "max_steps",
            "val_check_interval",
            "limit_val_batches",
            "gradient_clip_val",
            "accumulate_grad_batches",
            "precision",
            "log_every_n_steps",
            "enable_progress_bar",
        ),
    ),
    "optimizer": ("adamw", ("lr", "betas", "weight_decay", "warmup_steps", "final_lr_fraction")),
}
_OWN_FOLDERS = ("audio", "checkpoints")


def load_saved_config(path: Path, cache_dir: str, trust: Trust = (), text: str | None = None) -> DictConfig:
    """Load a run's saved config, changed so that a run writes only into its own folder and a cache.

    The run's folder is the one that contains the file, whatever the file says. The cache is the caller's: one that the
    file names could be a stranger's; if it holds audio, a line is printed that says how to use it. A dataset is never
    downloaded for it, and no log is sent to a server.

    Args:
        path: The run's config.yaml.
        cache_dir: The cache to use.
        trust: Modules whose classes it may name as well; see `wavenet.checkpoint.trust`.
        text: The file's content, if another process has read it; the folder may be on another machine.

    Returns:
        The config. Settings that the file lacks have the values of the current `configs/`.

    Raises:
        CheckpointError: If it is missing, damaged, or contains anything but a run's settings; or if the run's
            folder contains links, through which a run would write elsewhere.
    """
    run = path.absolute().parent
    with refusing(path, fix=""):
        cfg = _read(read_text(path, _LIMIT) if text is None else text, trust)
        if text is None:
            _check_links(run)
    cfg.resume, cfg.run_dir = None, literal(str(run))
    if "save_dir" in (cfg.logger or ()):
        cfg.logger.save_dir = literal(str(run))
    if "offline" in (cfg.logger or ()):
        cfg.logger.offline = True
    for dataset in datasets_in(cfg.dataset):
        if "download" in dataset:
            dataset["download"] = False
    named, cfg.preparation.cache_dir = Path(cfg.preparation.cache_dir), literal(cache_dir)
    if text is None and named.resolve() != Path(cache_dir).resolve() and any(named.glob("*Hz/table.json")):
        print(f"the run's cache {str(named)!a} is not used; preparation.cache_dir=... on the command line uses it")
    return cfg


def datasets_in(settings: MutableMapping[str, Any]) -> list[MutableMapping[str, Any]]:
    """Return the settings of a dataset, and those of each of its parts if it is a mix."""
    parts = settings.get("parts")
    found = list(parts.values()) if isinstance(parts, Mapping) else []
    return [settings, *(part for part in found if isinstance(part, MutableMapping))]


def kept(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings that a run saves: all except `trust`, which must be given anew each time."""
    return {name: value for name, value in plain(cfg).items() if name != "trust"}


def checked_yaml(cfg: DictConfig) -> str:
    """Return a run's config as saved text, after checking that the loader used for resuming accepts it.

    The classes that it names are the user's own, so their modules count as trusted here.

    Raises:
        ValueError: If it could not be loaded again; names the key, its value and the fix.
    """
    settings = kept(cfg)
    text = OmegaConf.to_yaml(OmegaConf.create(literals(settings)))
    try:
        if len(text.encode()) > _LIMIT:
            raise ValueError(f"has {len(text.encode())} bytes; at most {_LIMIT} are allowed: name fewer categories")
        _read(text, modules_of(settings))
    except ValueError as error:
        raise ValueError(f"this run could not be resumed: {error}") from error
    return text


def _read(text: str, trust: Trust) -> DictConfig:
    _check_yaml(text)
    saved = OmegaConf.create(text)
    if not isinstance(saved, DictConfig):
        raise ValueError("not a run's config")
    data: Any = upgrade_model(check_plain(OmegaConf.to_container(saved, resolve=False)))
    _check_instructions(data, trust)
    defaults = _load(config_dir() / "train.yaml")
    defaults = {name: value for name, value in defaults.items() if name not in ("defaults", "hydra", "trust")}
    data = {"callbacks": {}} | data  # which runs of earlier versions lack
    _check_names("", data, [*_GROUPS, *defaults], required=_GROUPS)
    for name in _GROUPS:
        _check_is_group(name, data[name])
    for group, (file, first) in _FIRST.items():
        present = _load(config_dir() / group / f"{file}.yaml")
        data[group] = {name: value for name, value in present.items() if name not in first} | data[group]
    for name, value in defaults.items():
        _check_value(name, data.get(name, value), value)
    _check_groups(data, trust)
    check_batch(data.get("batch_size", 1), data.get("segment_length", 1))
    merged = OmegaConf.merge(defaults, data)
    assert isinstance(merged, DictConfig)
    return merged


def _check_yaml(text: str) -> None:
    """Check that the text is a small YAML document without anchors, aliases and tags, in which names are text."""
    depth, loader = 0, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValueError("contains an anchor, an alias or a tag; refused")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or count > _MAX_EVENTS:
            raise ValueError(f"contains more than {_MAX_EVENTS} values, or lists nested more than {_MAX_DEPTH} deep")
    _check_keys(yaml.compose(text, Loader=loader))


def _check_keys(node: yaml.Node | None) -> None:
    """Check that the keys of mappings are text: hashes of numbers can be chosen so that all of them collide."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != _TEXT or (not key.style and _NUMBER.fullmatch(key.value)):
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list"
                raise ValueError(f"contains the name {shown:.80}; names must be strings")
            _check_keys(value)


def _check_instructions(data: Any, trust: Trust, place: tuple[str, ...] = ()) -> None:
    """Check that Hydra and OmegaConf would only build classes of this package and of trusted modules."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str):
                raise ValueError(f"contains the name {key!r}; names must be strings")
            if key == "_target_":
                resolve_class(".".join(place), value, trust)
            elif key == "_partial_" and place[:1] == ("model",) and "_target_" in data and value is True:
                continue  # a class from which the model builds its parts
            elif key.startswith("_"):
                raise ValueError(f"contains the instruction {key!r}; refused")
            _check_instructions(value, trust, (*place, key))
    elif isinstance(data, list):
        for item in data:
            _check_instructions(item, trust, (*place, ""))
    elif isinstance(data, str) and not is_literal(data):
        raise ValueError(f"contains the reference {data!r:.80}; a run's config must not contain references")


def _check_groups(data: dict[str, Any], trust: Trust) -> None:
    """Check that trainer, optimizer, logger and dataset contain only settings that `configs/` has for them."""
    trainer = _settings("trainer")
    _check_names("trainer.", data["trainer"], trainer, required=(*_FIRST["trainer"][1], "accelerator", "devices"))
    for name, value in data["trainer"].items():
        _check_value(f"trainer.{name}", value, trainer.get(name))
        if isinstance(value, str) and not re.fullmatch(r"[\w.,:-]{1,40}", value):
            raise ValueError(f"trainer.{name} is {value!r:.80}; it is not a value that the trainer accepts")
    _check_optimizer(trust, **data["optimizer"])
    _check_dataset("dataset", data["dataset"], trust)
    for name, callback in data["callbacks"].items():
        _check_object(f"callbacks.{name}", callback, trust)
        _check_own_values(f"callbacks.{name}", callback)
    if data["logger"].get("_target_") in LOGGERS:
        _check_names("logger.", data["logger"], _settings("logger"), required=("_target_", "save_dir"))
        _check_logger(**data["logger"])
    elif data["logger"]:
        _check_object("logger", data["logger"], trust)


def _check_optimizer(trust: Trust, _target_: Any = None, **arguments: Any) -> None:
    defaults = _load(config_dir() / "optimizer" / "adamw.yaml")
    if _target_ is None:
        _check_names("optimizer.", arguments, defaults, required=_FIRST["optimizer"][1])
    else:
        own = {name: value for name, value in arguments.items() if name not in SCHEDULE}
        check_arguments("optimizer:", resolve_class("optimizer", _target_, trust), ["params", *own])
        if "lr" not in own:
            raise ValueError("optimizer.lr is missing; every run's config has it")
    for name, value in arguments.items():
        if _target_ is None or name in SCHEDULE or is_own(_target_):
            _check_value(f"optimizer.{name}", value, defaults.get(name))


def _check_logger(
    _target_: Any,
    save_dir: Any,
    name: Any = "",
    version: Any = "csv",
    project: Any = "wavenet",
    offline: Any = True,
) -> None:
    _check_value("logger.save_dir", save_dir, "")
    if _target_ == WANDB:  # names that the server displays
        for key, value in {"project": project, "name": name or "a run"}.items():
            if not isinstance(value, str) or not re.fullmatch(r"\w[\w .-]{0,80}", value):
                raise ValueError(f"logger.{key} is {value!r:.80}; it must be a plain name")
        _check_value("logger.offline", offline, True)
    elif name != "" or not re.fullmatch(r"\w[\w.-]{0,80}", str(version)) or version in _OWN_FOLDERS:
        raise ValueError("logger.name and logger.version do not name a log folder inside the run's folder; refused")


def _check_dataset(group: str, settings: Any, trust: Trust) -> None:
    if issubclass(_check_object(group, settings, trust), Mix):
        _check_is_group(f"{group}.parts", settings["parts"])
        for name, part in settings["parts"].items():
            _check_dataset(f"{group}.parts.{name}", part, trust)
        settings = {name: value for name, value in settings.items() if name != "parts"}
    _check_own_values(group, settings)


def _check_object(group: str, settings: Any, trust: Trust) -> type:
    """Check that settings have a class that their group may name, and are its arguments; return the class."""
    _check_is_group(group, settings)
    if "_target_" not in settings:
        raise ValueError(f"{group:.80}._target_ is missing; every run's config has it")
    found = resolve_class(group, settings["_target_"], trust)
    check_arguments(f"{group:.80}:", found, [name for name in settings if name != "_target_"])
    return found


def _check_own_values(group: str, settings: dict[str, Any]) -> None:
    """Check the arguments of a class of this package; other classes check theirs themselves."""
    for name, value in settings.items():
        if name != "_target_" and is_own(settings["_target_"]):
            _check_value(f"{group}.{name}", value, None)


def _check_is_group(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name:.80} is {value!r:.80}; it must be a group of settings")


def _check_names(place: str, data: dict[str, Any], known: Iterable[str], required: Iterable[str] = ()) -> None:
    for name in required:
        if name not in data:
            raise ValueError(f"{place}{name} is missing; every run's config has it")
    for name in data:
        if name not in known:
            raise ValueError(f"{place}{name:.80} is not a setting of a run; remove it")


def _check_value(name: str, value: Any, default: Any) -> None:
    """Check that the command line would accept a value; a setting without a type may have any single value."""
    value_type = type_of_setting("train", name)
    if value_type is not None:
        if not value_type.accepts(value):
            raise ValueError(f"{name} is {format_value(value)}; it must be {value_type}")
    elif isinstance(default, dict):
        _check_is_group(name, value)
        _check_names(f"{name}.", value, default)
        for key, part in value.items():
            _check_value(f"{name}.{key}", part, default[key])
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{name} is {value!r:.80}; it must be a single value")


def _check_links(run: Path) -> None:
    """Check that the run's folder contains no link through which a run would write somewhere else."""
    count, now = 0, f"{datetime.now():%Y%m%d_%H%M%S}"
    for folder, folders, files in os.walk(run):
        place = _WANDB_LOGS.fullmatch(Path(folder).relative_to(run).as_posix())
        written = place is None or place[1] > now  # wandb makes links in its folders, and a new folder for each run
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink() and written:
                raise ValueError(
                    f"its folder contains {name!a:.80}, a link, which a run would write through; "
                    "replace it by what it points to"
                )
            count += 1
        if count > _MAX_FILES:
            raise ValueError(f"its folder contains more than {_MAX_FILES} files; a run's folder has fewer")


def _settings(group: str) -> dict[str, Any]:
    """Return all settings that the configs of a group have, with one of their values."""
    found: dict[str, Any] = {}
    for path in sorted((config_dir() / group).glob("*.yaml")):
        found = {name: value for name, value in _load(path).items() if name != "defaults"} | found
    return found


def _load(path: Path) -> dict[str, Any]:
    data: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return data
