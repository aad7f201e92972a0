"""Models as plain data: described, and built from a description."""

import functools
import inspect
import math
import os
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from wavenet.checkpoint.constructors import check_arguments, constructor_parameters
from wavenet.checkpoint.trust import Trust, module_class

_MARKS = ("_target_", "_partial_")


def describe(part: Any) -> dict[str, Any]:
    """Describe a module or a dataset as plain data: its class, and the value of each constructor argument.

    Every module and dataset of this package stores each constructor argument as an attribute of the same name, so its
    config can be read from the object. The user's own do the same; arguments that `**kwargs` passes on to a base class
    are stored by that. A module's class as an argument, or a `functools.partial` of one with keywords, is described by
    its name and `_partial_: true`.

    Args:
        part: A `torch.nn.Module`, or a dataset, see `wavenet.data`.

    Raises:
        ValueError: If a class cannot be found by its name, or does not store an argument as plain data; says how to
            change it.
    """
    is_module = isinstance(part, nn.Module)
    cls = type_before_parametrizations(part) if is_module else type(part)
    config: dict[str, Any] = {"_target_": _name_of(cls)}
    for name in constructor_parameters(cls):
        place = f"{cls.__name__}: its argument {name}"
        if not hasattr(part, name):
            what = "the model" if is_module else "the dataset of a run"
            raise ValueError(
                f"{place} is not stored, so {what} cannot be saved; add self.{name} = {name} to its constructor"
            )
        config[name] = _plain(getattr(part, name), place)
    return config


def build(config: Any, trust: Trust = ()) -> Any:
    """Build a module from its description, of this package's own classes and those of trusted modules only.

    Args:
        config: Plain data; a mapping with `_target_` becomes an object, or with `_partial_: true` also, a
            `functools.partial` of the class.
        trust: Modules whose classes are built, too; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If a class is neither this package's nor of a trusted module, or an argument is unknown.
    """
    if isinstance(config, Mapping):
        if "_target_" not in config:
            return {name: build(value, trust) for name, value in config.items()}
        target, partial = module_class(config["_target_"], trust), config.get("_partial_", False)
        if not isinstance(partial, bool):
            raise ValueError(f"_partial_ of {config['_target_']} is {partial!r:.80}; it must be true or false")
        arguments = {name: build(value, trust) for name, value in config.items() if name not in _MARKS}
        check_arguments(f"config of {config['_target_']}:", target, list(arguments), partial)
        return functools.partial(target, **arguments) if partial else target(**arguments)
    if isinstance(config, list):
        return [build(item, trust) for item in config]
    return config


def targets_of(config: Any) -> set[str]:
    """Return the full names of all classes in plain data."""
    inside = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    found = set().union(*map(targets_of, inside)) if inside else set()
    target = config.get("_target_") if isinstance(config, Mapping) else None
    return found | {target} if isinstance(target, str) else found


def modules_of(config: Any) -> list[str]:
    """Return the modules of all classes in plain data: to trust those of an object that exists already."""
    return sorted({target.rpartition(".")[0] for target in targets_of(config)})


def _name_of(cls: type) -> str:
    name, module = f"{cls.__module__}.{cls.__qualname__}", sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__" or "." in cls.__qualname__ or getattr(module, cls.__qualname__, None) is not cls:
        raise ValueError(
            f"{name} cannot be imported by its name, so it cannot be saved; put the class at the top level of a "
            "module of its own, such as mymodel.py, and import it from there"
        )
    return name


def _plain(value: Any, place: str) -> Any:
    is_module = isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict | nn.ModuleList)
    if is_module or (hasattr(value, "scan") and not inspect.isclass(value)):  # a dataset that is part of a mix
        return describe(value)
    if isinstance(value, nn.ModuleDict | Mapping):
        if not all(isinstance(name, str) and not name.startswith("_") for name in value):
            raise ValueError(f"{place} has keys that are not text or begin with _, so it cannot be saved; rename them")
        return {name: _plain(item, place) for name, item in value.items()}
    if isinstance(value, nn.ModuleList | list | tuple):
        return [_plain(item, place) for item in value]
    if inspect.isclass(value) or isinstance(value, functools.partial):
        return _plain_partial(value, place)
    if value is None or isinstance(value, str | PurePath):
        return value and str.__str__(os.fspath(value))
    for kind in (bool, int, float):  # numpy's float64 is a float, too
        if isinstance(value, kind) and math.isfinite(value):
            return kind(value)
    raise ValueError(
        f"{place} is stored as {value!r:.60}, which is not plain data, so it cannot be saved; store it as a number, "
        "text, a list, a module or a class of one"
    )


def _plain_partial(value: Any, place: str) -> dict[str, Any]:
    cls, given = (value.func, value.keywords) if isinstance(value, functools.partial) else (value, {})
    if not inspect.isclass(cls) or not issubclass(cls, nn.Module) or getattr(value, "args", ()):
        raise ValueError(
            f"{place} is not a torch.nn.Module class with keywords, so it cannot be saved; use "
            "functools.partial(Class, name=value)"
        )
    described = {name: _plain(item, f"{place}, {name},") for name, item in given.items()}
    return {"_target_": _name_of(cls), "_partial_": True} | described


def own_class(target: Any) -> type | None:
    """Return the class of a description's `_target_` if it is this package's own; nothing else is imported."""
    try:
        return module_class(target)
    except ValueError:
        return None
