"""Common parts of the commands: their configuration and how they report errors."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wavenet.atomic_files import os_error_reason
from wavenet.checkpoint import packaged_models
from wavenet.cli.config_files import config_dir, program_name
from wavenet.cli.errors import explain_composition_error, explain_instantiation_error
from wavenet.cli.help import asks_for_help, help_text
from wavenet.cli.output import check_cause, checked_output, end
from wavenet.cli.quoting import quoted
from wavenet.cli.validation import check
from wavenet.names import one_line

_USER_ERRORS = (
    ValueError, FloatingPointError, ModuleNotFoundError, OSError, MemoryError, torch.OutOfMemoryError,
    OmegaConfBaseException, InstantiationException,
)  # fmt: skip
_VERBOSE_LOGGERS = ("httpx", "httpx2")  # they log each request
_FULL_ERROR = "HYDRA_FULL_ERROR"


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Turn a function of a config into a Hydra command; a user's mistake ends it with one line and exit code 2.

    The config is checked before the function is called. With HYDRA_FULL_ERROR=1 a mistake shows its traceback.
    """
    program = program_name(name)

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @wraps(function)
        def checked(cfg: DictConfig) -> Any:  # what the function returns is a sweeper's
            with _full_error(wanted), plain_warnings():  # the former as the user set it, also for child processes
                for each in _VERBOSE_LOGGERS:  # Hydra enables all loggers
                    logging.getLogger(each).setLevel(logging.WARNING)
                try:
                    check(name, cfg)
                    return function(cfg)
                except _USER_ERRORS as error:
                    if isinstance(error, OSError):
                        check_cause(program, error)
                    if wanted == "1":
                        raise
                    end(program, _reason(error))
                except KeyboardInterrupt:  # training handles its own
                    print(f"{program}: stopped", file=sys.stderr)
                    sys.exit(128 + signal.SIGINT)

        run = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(checked)
        wanted = None

        @wraps(function)
        @checked_output(program)
        def main() -> None:
            nonlocal wanted
            wanted = os.environ.get(_FULL_ERROR)
            arguments = sys.argv[1:]
            sys.argv[1:] = quoted(name, arguments)
            try:
                if asks_for_help(arguments):
                    print(help_text(name, sys.argv[1:]))
                    return
                with _full_error("1"):  # so that Hydra raises its errors instead of printing them
                    run()
            except (HydraException, OmegaConfBaseException, ValueError, YAMLError) as error:
                if wanted == "1":
                    raise
                overrides = [argument for argument in arguments if not argument.startswith("-")]
                end(program, explain_composition_error(error, name, config_dir(), overrides))
            except OSError as error:  # of Hydra's own files, or of what it prints
                check_cause(program, error)
                if wanted == "1":
                    raise
                end(program, _reason(error))
            finally:
                sys.argv[1:] = arguments

        return main

    return decorate


@contextmanager
def _full_error(value: str | None) -> Iterator[None]:
    """Temporarily set the environment variable that makes Hydra raise its errors; None removes it."""
    before = os.environ.pop(_FULL_ERROR, None)
    try:
        if value is not None:
            os.environ[_FULL_ERROR] = value
        yield
    finally:
        os.environ.pop(_FULL_ERROR, None)
        if before is not None:
            os.environ[_FULL_ERROR] = before


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Let a warning that is for the user be a line of its own, without the code that raised it."""
    before = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        if category is UserWarning:
            return f"warning: {message}\n"
        return before(message, category, *place, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print the warnings raised inside the block as plain lines, each once, such as why a backend was not used."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning):
        print(message)


def key_of(override: str) -> str:
    """Return the key that an override of the command line sets.

    >>> key_of("model/context=small"), key_of("+dataset@dataset.parts.mine=folder")
    ('model.context', 'dataset.parts.mine')
    """
    return override.split("=", 1)[0].lstrip("+~").split("@")[-1].replace("/", ".")


def overrides_of_command() -> dict[str, str]:
    """Return the overrides of the command line by their keys; none if there is no command."""
    if not HydraConfig.initialized():
        return {}
    task = HydraConfig.get().overrides.task
    overrides: Any = OmegaConf.to_container(task, resolve=False)  # a name may look like a reference
    return {key_of(override): override for override in overrides}


def unnamed_model(cfg: DictConfig) -> str | None:
    """Return the model that a command takes because its command line names none, in a line to print; else None."""
    if "checkpoint" in overrides_of_command():
        return None
    packaged = packaged_models()
    whose = "what lies here under that name" if Path(cfg.checkpoint).exists() else "of the package"
    return one_line(f"checkpoint={cfg.checkpoint}, {whose} (none was given; the package has {', '.join(packaged)})")


def plain(cfg: Any) -> Any:
    """Convert a config to plain dicts, lists, numbers and strings, with all references resolved."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def _reason(error: BaseException) -> str:
    """Return an error's message; a library's own error is rephrased for the user."""
    if isinstance(error, InstantiationException):
        return explain_instantiation_error(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {os_error_reason(error)}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out of memory; use a smaller batch_size, segment_length or model"
    message = str(error).strip().removeprefix("stream: ") or type(error).__name__
    return message.splitlines()[0] if isinstance(error, OmegaConfBaseException) else message
