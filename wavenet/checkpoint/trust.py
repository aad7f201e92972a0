"""Which classes a description may name: this package's own, and those of modules that the user says to trust.

Trust is the user's word, given by whoever loads; nothing that a file says adds to it. What is neither is not imported.
"""

import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from wavenet.checkpoint.errors import UntrustedError

Trust = Sequence[str]
_MODULE = re.compile(r"[A-Za-z_]\w{0,80}(\.[A-Za-z_]\w{0,80}){0,15}", re.ASCII)
_CLASS = re.compile(rf"{_MODULE.pattern}\.[A-Za-z_]\w{{0,80}}", re.ASCII)
_OWN = "wavenet."
_MODEL = re.compile(r"wavenet\.(model|nn|distributions|conditioning)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")
_DATASET = re.compile(r"wavenet\.data(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")
_OPTIMIZER = re.compile(r"torch\.optim(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")


def check_trust(trust: Any) -> tuple[str, ...]:
    """The modules that somebody says to trust.

    Args:
        trust: Names of modules: "mymodel" stands for the classes in it and in `mymodel.sub`, not in `mymodel2`.

    Raises:
        ValueError: If it is no list of names of modules.

    >>> check_trust(["mymodel", "lab.models"])
    ('mymodel', 'lab.models')
    """
    if isinstance(trust, str) or not isinstance(trust, Sequence):
        raise ValueError(f'trust is {trust!r:.80}; it must be a list of modules, such as ["mymodel"]')
    for name in trust:
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise ValueError(f"trust has {name!r:.80}; each must be a module's name, such as mymodel or lab.models")
    return tuple(trust)


def is_own(target: Any) -> bool:
    """Whether a class's full name says that it is of this package."""
    return isinstance(target, str) and target.startswith(_OWN)


def module_class(target: Any, trust: Trust = ()) -> type[nn.Module]:
    """The class of a model or a part of one.

    Args:
        target: Its full name, such as "wavenet.model.WaveNet".
        trust: Modules whose classes are taken, too; see `check_trust`.

    Raises:
        ValueError: If it is not to be had, names no `torch.nn.Module`, or is not trusted (`UntrustedError`).
    """
    return allowed_class(target, _MODEL, nn.Module, trust)


def dataset_class(target: Any, trust: Trust = ()) -> type:
    """The class of a dataset; as `module_class`."""
    found = allowed_class(target, _DATASET, object, trust)
    if not callable(getattr(found, "scan", None)):
        raise ValueError(f"_target_ {target!r} is no dataset; refused, as it has no method scan(), see wavenet.data")
    return found


def optimizer_class(target: Any, trust: Trust = ()) -> type[Optimizer]:
    """The class of an optimizer, of torch.optim or of a trusted module; as `module_class`."""
    return allowed_class(target, _OPTIMIZER, Optimizer, trust, home="torch.optim.")


def allowed_class(name: Any, pattern: re.Pattern[str], base: type, trust: Trust = (), home: str = _OWN) -> Any:
    """Import a class by its full name if the name fits the pattern or its module is trusted.

    Args:
        name: Of the class, its module before it.
        pattern: Of the names that need no trust.
        base: What it must be a subclass of.
        trust: Modules whose classes are taken, too; see `check_trust`.
        home: What the module's name begins with in which a class that needs no trust is defined.

    Raises:
        ValueError: If it does not fit, naming it. Nothing else is imported.
    """
    if isinstance(name, str) and pattern.fullmatch(name):
        module_name, _, class_name = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ImportError:
            found = None
        if inspect.isclass(found) and issubclass(found, base) and f"{found.__module__}.".startswith(home):
            return found
    if isinstance(name, str) and _CLASS.fullmatch(name):
        module_name = name.rpartition(".")[0]
        if _within(module_name, check_trust(trust)):
            return _trusted_class(name, base, trust)
        if module_name.partition(".")[0] not in (*sys.stdlib_module_names, home.partition(".")[0]):
            raise UntrustedError(name, module_name.partition(".")[0])
    raise ValueError(f"_target_ {name!r:.80} is not one of this package's own classes; refused")


def import_module(name: str) -> Any:
    """Import a module of the user's: as Python finds it, else from the folder in which the user is.

    That folder is looked into for nothing but this: code that lies in it never stands for a package that is missing.

    Raises:
        ValueError: If there is none of that name, or importing it fails; says why.
    """
    top, here = name.partition(".")[0], str(Path.cwd())
    try:
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            importlib.invalidate_caches()
            if here not in sys.path and importlib.machinery.PathFinder.find_spec(top, [here]) is not None:
                sys.path.append(here)  # for good: it may import what lies beside it later, and in other processes
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {error.name}, neither installed nor in {here}") from error
        raise ValueError(f"module {name} cannot be imported: {error}") from error
    except Exception as error:  # whatever anybody's module may raise
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(f"module {name} cannot be imported: {type(error).__name__}: {said}") from error


def constructor_parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a class's constructor, with those that `**kwargs` hands on to its bases.

    Args:
        constructor: A class; or any other callable, of which it is just the named arguments.

    Returns:
        By name, the subclass's own first; never `*args` and `**kwargs` themselves.

    >>> class Scaled(nn.Linear):
    ...     def __init__(self, gain: float, **kwargs): ...
    >>> list(constructor_parameters(Scaled))[:3]
    ['gain', 'in_features', 'out_features']
    """
    return _arguments(constructor)[0]


def takes_any(constructor: Callable[..., Any]) -> bool:
    """Whether a constructor takes arguments of any name, and none of its bases says which."""
    return _arguments(constructor)[1]


def check_arguments(name: str, constructor: Callable[..., Any], given: Sequence[str], partial: bool = False) -> None:
    """Raise unless a class takes just these arguments.

    Args:
        name: What to call it.
        constructor: The class.
        given: Names of arguments.
        partial: Whether there will be more.

    Raises:
        ValueError: Names the first that is unknown or missing.
    """
    known, any_other = _arguments(constructor)
    for each in given:
        if each not in known and not any_other:
            raise ValueError(f"{name} got an unexpected keyword argument {each!r:.80}; it takes {', '.join(known)}")
    for each, parameter in known.items():
        if not partial and each not in given and parameter.default is parameter.empty:
            raise ValueError(f"{name} is missing a required argument: {each!r}")


def _arguments(constructor: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Named arguments, and whether there may be others."""
    owners = constructor.__mro__ if inspect.isclass(constructor) else (None,)
    found: dict[str, inspect.Parameter] = {}
    open_ended = False
    for owner in owners:
        if owner in (nn.Module, object):
            break
        if owner is not None and "__init__" not in vars(owner):
            continue
        given = inspect.signature(constructor if owner is None else vars(owner)["__init__"]).parameters.values()
        for parameter in list(given)[owner is not None :]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        open_ended = any(parameter.kind == parameter.VAR_KEYWORD for parameter in given)
        if not open_ended:
            break
    return found, open_ended


def _within(module: str, trust: Trust) -> bool:
    return any(f"{module}.".startswith(f"{trusted}.") for trusted in trust)


def _trusted_class(name: str, base: type, trust: Trust) -> type:
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"_target_ {name!r} is not to be had: {error}") from error
    if not inspect.isclass(found) or not issubclass(found, base):
        what = f"a {found.__name__}" if inspect.isclass(found) else f"a {type(found).__name__}, no class"
        raise ValueError(f"_target_ {name!r} is {what}; refused, it must be a subclass of {base.__name__}")
    if not _within(found.__module__, trust):
        place = f"{found.__module__}.{found.__qualname__}"
        raise ValueError(f"_target_ {name!r} is defined elsewhere; refused, name it {place}")
    return found
