"""What the commands share: the configuration and the manner of failing."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

_PACKAGE = Path(__file__).parents[1]
_MISTAKES = (ValueError, FloatingPointError, ModuleNotFoundError, OmegaConfBaseException, InstantiationException)


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

        return hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)

    return decorate


def plain(cfg: Any) -> Any:
    """A config as plain dicts, lists, numbers and strings, with all references resolved."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def _reason(error: BaseException) -> str:
    """An error's message; of one that Hydra wrapped, the original."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    message = str(error).strip() or type(error).__name__
    return message.splitlines()[0] if isinstance(error, OmegaConfBaseException) else message
