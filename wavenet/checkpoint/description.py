"""A model as plain data, and built from it."""

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

FORMAT_VERSION = 1
_MODEL_TARGET = re.compile(r"wavenet\.(model|nn|distributions|conditioning)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")


def describe(module: nn.Module) -> dict[str, Any]:
    """A module as plain data: its class, and the value of each constructor argument.

    Every module of this package keeps each constructor argument under its own name, or as a
    module of that name, so a config can be read off the built object.
    """
    config: dict[str, Any] = {"_target_": f"{type(module).__module__}.{type(module).__qualname__}"}
    for name in inspect.signature(type(module).__init__).parameters:
        if name != "self":
            config[name] = _plain(getattr(module, name))
    return config


def build(config: Any) -> Any:
    """Build what `describe` described, from this package's own modules and nothing else.

    Args:
        config: Plain data; a mapping with `_target_` becomes an object.

    Raises:
        ValueError: If a target is not a module of this package, or an argument is unknown.
    """
    if isinstance(config, Mapping):
        arguments = {name: build(value) for name, value in config.items() if name != "_target_"}
        if "_target_" not in config:
            return arguments
        target = allowed_class(config["_target_"], _MODEL_TARGET, nn.Module)
        try:
            inspect.signature(target).bind(**arguments)
        except TypeError as error:
            raise ValueError(f"config of {config['_target_']}: {error}") from None
        return target(**arguments)
    if isinstance(config, list):
        return [build(item) for item in config]
    return config


def allowed_class(name: Any, pattern: re.Pattern[str], base: type) -> type:
    """Import a class by its full name if the name fits the pattern and it is what it says it is.

    Raises:
        ValueError: If it does not, naming it. Nothing outside the pattern is imported.
    """
    if isinstance(name, str) and pattern.fullmatch(name):
        module_name, _, class_name = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ImportError:
            found = None
        if inspect.isclass(found) and issubclass(found, base) and found.__module__.startswith("wavenet."):
            return found
    raise ValueError(f"_target_ {name!r} is not one of this package's own classes; refused")


def _plain(value: Any) -> Any:
    if isinstance(value, nn.ModuleDict):
        return {name: describe(module) for name, module in value.items()}
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value


def own_class(target: Any) -> type | None:
    """The class of a description's `_target_` if it is this package's own, without the imports of any other."""
    try:
        return allowed_class(target, _MODEL_TARGET, nn.Module)
    except ValueError:
        return None
