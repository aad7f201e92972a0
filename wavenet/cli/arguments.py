"""The arguments of `wavenet.train`: checked, and named in messages, by their own names."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from wavenet.cli.command import plain
from wavenet.cli.errors import explain_instantiation_error
from wavenet.cli.resumption import AUTO
from wavenet.cli.schema import type_of_setting
from wavenet.model import WaveNet
from wavenet.training import flat_settings, launch

KEYS = {
    "steps": "trainer.max_steps",
    "batch_size": "batch_size",
    "segment_length": "segment_length",
    "lr": "optimizer.lr",
    "validate_every": "trainer.val_check_interval",
    "validation_fraction": "validation_fraction",
    "seed": "seed",
}
_DEVICES = ("auto", "cpu", "gpu")


def check_arguments(numbers: Mapping[str, Any], device: Any) -> None:
    """Check arguments by their own names; the config is checked by its keys.

    Raises:
        ValueError: If one is out of range.
    """
    for name, value in numbers.items():
        kind = type_of_setting("train", KEYS[name])
        assert kind is not None
        if not kind.accepts(value) and not (name == "lr" and value is None):
            raise ValueError(f"{name} is {value!r:.60}; it must be {kind}")
    if device not in _DEVICES:
        raise ValueError(f"device is {device!r:.60}; it must be one of {', '.join(map(repr, _DEVICES))}")


@contextmanager
def naming_arguments(settings: Mapping[str, str]) -> Iterator[None]:
    """Let the message of an error name arguments.

    Args:
        settings: The overrides of the argument `settings`, by their keys, which are named as they are.

    Raises:
        ValueError: In place of an error that something cannot be built, too.
    """
    try:
        yield
    except InstantiationException as error:
        raise ValueError(with_arguments(explain_instantiation_error(error), settings)) from error
    except ValueError as error:
        if type(error) is not ValueError:  # of a file
            raise
        raise ValueError(with_arguments(str(error), settings)) from error


def with_arguments(message: str, settings: Mapping[str, str]) -> str:
    """Name arguments in a message in place of their keys in the config, except those that settings has given.

    >>> with_arguments("trainer.max_steps is 3; try a smaller optimizer.lr.", {"optimizer.lr": "optimizer.lr=1"})
    'steps is 3; try a smaller optimizer.lr.'
    """
    for name, key in [*KEYS.items(), ("device", "trainer.accelerator")]:
        if key not in settings:
            message = re.sub(rf"(?<![\w.]){re.escape(key)}(?!\.?\w)", name, message)
    return message if "trainer" in settings else re.sub(r"\btrainer=(cpu|gpu)\b", r"device='\1'", message)


def check_experiment(model: Any, override: str, cfg: DictConfig, without: DictConfig) -> None:
    """Check that an experiment changes none of the parts that are objects, as its changes would be lost.

    Raises:
        ValueError: If it does; names the first.
    """
    for group in ["dataset", *(["model"] if isinstance(model, WaveNet) else [])]:
        now, before = (flat_settings({group: OmegaConf.to_container(each[group])}) for each in (cfg, without))
        for key in dict.fromkeys((*now, *before)):
            if now.get(key) != before.get(key):
                raise ValueError(
                    f"settings has {override}, whose {key} is {now.get(key)!r:.60}, but the {group} is an argument of "
                    "wavenet.train; leave it out, and give its other settings one by one"
                )


def check_processes(cfg: DictConfig) -> None:
    """Check that a run has one process: others would start with this one's program, which a notebook has not.

    Raises:
        ValueError: If it has several, and no launcher has started them.
    """
    trainer = plain(cfg.trainer)
    devices: Any = trainer["devices"]
    every = 1 if trainer["accelerator"] == "cpu" else torch.cuda.device_count()
    count = len(devices) if isinstance(devices, list) else every if devices in (AUTO, -1) else devices
    several = {
        "devices": count > 1,
        "strategy": trainer["strategy"] != AUTO,
        "num_nodes": trainer["num_nodes"] not in (AUTO, 1),
    }
    for name in [name for name, is_several in several.items() if is_several and launch() is None]:
        raise ValueError(
            f"trainer.{name} is {trainer[name]!r:.60}, but wavenet.train has one process; train with several by the "
            "command wavenet train"
        )


def check_objects(model: Any, overrides: Mapping[str, str]) -> None:
    """Check that settings are not those of objects.

    Raises:
        ValueError: If one is; names it.
    """
    objects = {"dataset", "init_from", "resume", "run_dir"} | ({"model"} if isinstance(model, WaveNet) else set())
    for key, override in overrides.items():
        if key.split(".")[0] in objects:
            raise ValueError(f"settings has {override}, which is an argument of wavenet.train; change that")
