"""Checks of a composed config, made once before anything is built, read or written."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from wavenet.checkpoint import check_trust, constructor_parameters, takes_any
from wavenet.cli.lightning_settings import refusal
from wavenet.cli.schema import SCHEMA, is_dataset, type_of_setting
from wavenet.cli.targets import SCHEDULE, resolve_user_class
from wavenet.names import closest
from wavenet.types import format_value

_BUILT_AT_ONCE = re.compile(
    r"\w+|callbacks\.\w+|model\.(distribution|context|conditioners\.\w+)(\.upsampling)?"
)  # groups
_REFERENCE = re.compile(r"\$\{[\w.]+\}")
_OWN_PREFIX = "wavenet."
_HYDRA_KEYS = {"_target_", "_convert_", "_recursive_", "_partial_", "_args_"}
_PASSED_ON = ("optimizer",)  # to a constructor; `check_run` checks the arguments
_ALWAYS_CHECKED = ("_target_", *SCHEDULE)  # also for classes of other packages
_FILES = ("output",)
_FOLDERS = ("run_dir", "preparation.cache_dir")
_OF_TRAINING = {key.split(".")[0] for key in SCHEMA["train"]} - {"dataset", "model", "preparation"}
_OPTIONAL = {"evaluate": {"dataset"}, "prepare": _OF_TRAINING}
_WRITE_FOLDERS = ("export_onnx", "import", "prepare")  # commands whose output is a folder


def check(command: str, cfg: DictConfig) -> None:
    """Check that no setting is missing, unknown, out of range, or a path that cannot be written.

    Args:
        command: The name of the config, such as "train".
        cfg: The composed config.

    Raises:
        ValueError: Names the key, its value, and the allowed values.
    """
    settings, written = _resolved(cfg), OmegaConf.to_container(cfg)
    chosen = {key.split(".")[0] for key in SCHEMA[command]}
    _check_keys("", settings, chosen)
    for key in sorted(chosen - settings.keys() - _OPTIONAL.get(command, set()) - {"experiment"}):
        raise ValueError(f"{key} is missing; restore it, or give {key}=VALUE")
    _check_group(command, "", settings, written)
    check_trust(settings.get("trust", ()))
    writes_folder = command in _WRITE_FOLDERS or OmegaConf.select(cfg, "manifest") is not None
    for key in (*_FILES, *_FOLDERS):
        path = OmegaConf.select(cfg, key)
        if path is not None and not (command == "prepare" and "://" in path):
            _check_writable(key, Path(path), folder=key in _FOLDERS or writes_folder)


def check_rate(requested: int | None, rate: int) -> None:
    """Check that a requested sample rate, in Hz, is the checkpoint's; None accepts any."""
    if requested not in (None, rate):
        raise ValueError(
            f"sample_rate is {requested}, but the checkpoint supports {rate} Hz only; remove it and "
            "resample the file, or train with model.sample_rate"
        )


def arguments_of(constructor: Any) -> set[str] | None:
    """Return the names of a constructor's arguments; None if it accepts any."""
    return None if takes_any(constructor) else set(constructor_parameters(constructor))


def check_known(group: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Check that all keys of a group are known.

    Raises:
        ValueError: Names the unknown key and the most similar known one.
    """
    before, keys = f"{group}." if group else "", list(keys)
    for key in keys:
        if refused := refusal(f"{before}{key}"):
            raise ValueError(refused)
        if key not in known:
            meant = closest(f"{before}{key}", [f"{before}{each}" for each in known])
            listed = f"did you mean {meant}?" if meant else f"known are {', '.join(sorted(known))}"
            if "_target_" in keys and not meant:  # another class than that of the group's YAML
                listed += f"; if it comes from a YAML, leave it out: ~{before}{key}"
            raise ValueError(f"{before}{key}: there is no such setting; {listed}")


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Convert a config to plain data, with all references resolved."""
    try:
        settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is not given; give {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{error.full_key} cannot be resolved: {reason}; give {error.full_key}=VALUE") from error
    assert isinstance(settings, dict)
    return settings  # pyright: ignore[reportReturnType]


def _check_group(command: str, group: str, settings: Mapping[str, Any], written: Any) -> None:
    """Check a group of settings and the groups inside it, except references, which are checked at their target."""
    before = f"{group}." if group else ""
    foreign = not str(settings.get("_target_", _OWN_PREFIX)).startswith(_OWN_PREFIX)
    for name, value in settings.items():
        if isinstance(written[name], str) and _REFERENCE.fullmatch(written[name]):
            continue
        key = f"{before}{name}"
        value_type = type_of_setting(command, key)
        if value_type is not None and not (foreign and name not in _ALWAYS_CHECKED and not group.startswith("logger")):
            if not value_type.accepts(value):
                raise ValueError(f"{key} is {format_value(value)}; it must be {value_type}")
            if isinstance(value, dict) and "_target_" in value:
                _check_keys(key, value, _known(command, key, value))
        elif isinstance(value, dict):
            if "_partial_" in value and (is_dataset(key) or _BUILT_AT_ONCE.fullmatch(key)):
                raise ValueError(f"{key}._partial_: only a part that the model builds later has it; remove it")
            if key != "dataset" and is_dataset(key) and "_target_" not in value:
                raise ValueError(f"{key} is no dataset; choose one for it: +dataset@{key}=NAME")
            _check_keys(key, value, _known(command, key, value))
            _check_group(command, key, value, written[name])
        elif example := _example_in(command, key) if value is not None else None:
            raise ValueError(f"{key} is {format_value(value)}; it must be a group of settings, such as {example}")


def _example_in(command: str, group: str) -> str | None:
    """Return the key of a setting inside a group; None if it is no group."""
    if re.fullmatch(r"(model\.conditioners|dataset\.parts|callbacks)\.[^.]+", group):
        return f"{group}._target_"
    return next((each for each in SCHEMA[command] if each.startswith(f"{group}.")), None)


def _known(command: str, group: str, settings: Mapping[str, Any]) -> set[str] | None:
    """Return the keys that a group may have; None if it may have any, or if they are checked elsewhere."""
    if isinstance(settings.get("_target_"), str):
        return _arguments_of_target(group, settings["_target_"])
    if "_target_" in settings or group in _PASSED_ON or group in ("model.conditioners", "callbacks"):
        return None
    own = {key.removeprefix(f"{group}.").split(".")[0] for key in SCHEMA[command] if key.startswith(f"{group}.")}
    return own or None


def _arguments_of_target(group: str, target: str) -> set[str] | None:
    known = arguments_of(resolve_user_class(group, target))
    if group == "optimizer" and known is not None:
        known = known - {"params"} | set(SCHEDULE)
    return None if known is None else known | _HYDRA_KEYS


def _check_keys(group: str, settings: Mapping[str, Any], known: set[str] | None) -> None:
    if known is not None:
        check_known(group, settings, known)


def _check_writable(key: str, path: Path, folder: bool) -> None:
    """Check that a file or folder can be created at a path."""
    if path.is_dir() and not folder:
        raise ValueError(f"{key} is {format_value(str(path))}, a folder; name a file in it, such as {path / 'NAME'}")
    if key == "preparation.cache_dir" and path.exists() and not path.is_dir():
        raise ValueError(f"{key} is {format_value(str(path))}, a file; name a folder")
    parent = path if path.is_dir() else path.parent
    while not os.path.lexists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{key} is {format_value(str(path))}, but {parent} is a file; name a path inside a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{key} is {format_value(str(path))}, but {parent} is not writable; name another path")
