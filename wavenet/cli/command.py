"""What the commands share: the configuration and the manner of failing."""

import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavenet.checkpoint import CheckpointError, allowed_class
from wavenet.writing import reason

_PACKAGE = Path(__file__).parents[1]
_TARGET = re.compile(r"wavenet\.(model|nn|distributions|conditioning|data)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")
_MISTAKES = (ValueError, FloatingPointError, ModuleNotFoundError, OmegaConfBaseException, InstantiationException)
_LOGGERS = ("lightning.pytorch.loggers.TensorBoardLogger", "wavenet.training.log.CSVLog")


def config_dir() -> Path:
    """The folder of configs: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "share" / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function of a config into a Hydra command; a user's mistake ends it with one line."""

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        @wraps(function)
        def guarded(cfg: DictConfig) -> None:
            try:
                function(cfg)
            except _MISTAKES as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                print(f"wavenet {name}: {_reason(error)}", file=sys.stderr)
                sys.exit(2)
            except OSError as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                place = f"{error.filename}: " if error.filename is not None else ""
                print(f"wavenet {name}: {place}{reason(error)}", file=sys.stderr)
                sys.exit(2)

        return hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)

    return decorate


def plain(cfg: Any) -> Any:
    """A config as plain dicts, lists, numbers and strings, with all references resolved."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def load_run_config(path: Path) -> DictConfig:
    """A run's saved config, treated as a stranger's: only this package's classes may be named in it.

    Raises:
        CheckpointError: If it is missing, damaged, or names anything else.
    """
    try:
        cfg = OmegaConf.load(path)
        data = OmegaConf.to_container(cfg, resolve=False)
    except Exception as error:  # whatever a YAML parser may say of a damaged file
        raise CheckpointError(f"{path}: not readable as a run's config ({_reason(error)})") from error
    if not isinstance(cfg, DictConfig):
        raise CheckpointError(f"{path}: not a run's config")
    try:
        _refuse_strangers(data)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return cfg


def _refuse_strangers(data: Any) -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "_target_" and value not in _LOGGERS:
                allowed_class(value, _TARGET, object)
            elif str(key).startswith("_") and key != "_target_":
                raise ValueError(f"holds the instruction {key!r}; refused")
            _refuse_strangers(value)
    elif isinstance(data, list):
        for item in data:
            _refuse_strangers(item)
    elif isinstance(data, str) and "${" in data:
        raise ValueError(f"holds the reference {data!r}; a run's config has none")


def _reason(error: BaseException) -> str:
    """An error's message; of one that Hydra wrapped, the original."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    message = str(error).strip() or type(error).__name__
    return message.splitlines()[0] if isinstance(error, OmegaConfBaseException) else message
