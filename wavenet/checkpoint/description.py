"""A model as plain data, and built from it."""

import functools
import inspect
import math
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from wavenet.checkpoint.trust import Trust, check_arguments, constructor_parameters, module_class

_MARKS = ("_target_", "_partial_")


def describe(module: nn.Module) -> dict[str, Any]:
    """A module as plain data: its class, and the value of each constructor argument.

    Every module of this package keeps each constructor argument under its own name, or as a
    module of that name, so a config can be read off the built object. One of the user's own does the same; arguments
    that its `**kwargs` hands to its base are those that the base keeps. A class, or a `functools.partial` of one with
    keywords, is described by its name and `_partial_: true`.

    Raises:
        ValueError: If a class cannot be found again by its name, or does not keep an argument as plain data; says what
            to add to it.
    """
    cls = type_before_parametrizations(module)
    config: dict[str, Any] = {"_target_": _name_of(cls)}
    for name in constructor_parameters(cls):
        place = f"{cls.__name__}: its argument {name}"
        if not hasattr(module, name):
            raise ValueError(f"{place} is not kept, so it cannot be saved; add self.{name} = {name} to its constructor")
        config[name] = _plain(getattr(module, name), place)
    return config


def build(config: Any, trust: Trust = ()) -> Any:
    """Build what `describe` described, from this package's own modules and those of trusted modules, and nothing else.

    Args:
        config: Plain data; a mapping with `_target_` becomes an object, or with `_partial_: true` besides, a
            `functools.partial` of the class.
        trust: Modules whose classes are built, too; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If a target is not a module of this package or of a trusted one, or an argument is unknown.
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
    """The full names of all classes that plain data name."""
    inside = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    found = set().union(*map(targets_of, inside)) if inside else set()
    target = config.get("_target_") if isinstance(config, Mapping) else None
    return found | {target} if isinstance(target, str) else found


def modules_of(config: Any) -> list[str]:
    """The modules of all classes that plain data name: to trust those of an object that is here already."""
    return sorted({target.rpartition(".")[0] for target in targets_of(config)})


def _name_of(cls: type) -> str:
    name, module = f"{cls.__module__}.{cls.__qualname__}", sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__" or "." in cls.__qualname__ or getattr(module, cls.__qualname__, None) is not cls:
        raise ValueError(
            f"{name} cannot be found again by its name, so it cannot be saved; put the class at the top level of a "
            "module of its own, such as mymodel.py, and import it from there"
        )
    return name


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict | nn.ModuleList):
        return describe(value)
    if isinstance(value, nn.ModuleDict | Mapping):
        if not all(isinstance(name, str) and not name.startswith("_") for name in value):
            raise ValueError(f"{place} has names that are no plain words, so it cannot be saved; rename them")
        return {name: _plain(item, place) for name, item in value.items()}
    if isinstance(value, nn.ModuleList | list | tuple):
        return [_plain(item, place) for item in value]
    if inspect.isclass(value) or isinstance(value, functools.partial):
        return _plain_partial(value, place)
    if value is None or isinstance(value, str):
        return value and str.__str__(value)
    for kind in (bool, int, float):  # numpy's float64 is a float, too
        if isinstance(value, kind) and math.isfinite(value):
            return kind(value)
    raise ValueError(
        f"{place} is kept as {value!r:.60}, which is no plain data, so it cannot be saved; keep it as a number, text, "
        "a list, a module or a class of one"
    )


def _plain_partial(value: Any, place: str) -> dict[str, Any]:
    cls, given = (value.func, value.keywords) if isinstance(value, functools.partial) else (value, {})
    if not inspect.isclass(cls) or not issubclass(cls, nn.Module) or getattr(value, "args", ()):
        raise ValueError(
            f"{place} is not a class of modules with keywords, so it cannot be saved; use functools.partial(Class, "
            "name=value)"
        )
    described = {name: _plain(item, f"{place}, {name},") for name, item in given.items()}
    return {"_target_": _name_of(cls), "_partial_": True} | described


def own_class(target: Any) -> type | None:
    """The class of a description's `_target_` if it is this package's own, without the imports of any other."""
    try:
        return module_class(target)
    except ValueError:
        return None
