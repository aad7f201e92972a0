"""Which classes a description may name: this package's own, and those of modules that the caller trusts.

Trust comes from the caller alone, never from a file. Other modules are not imported.
"""

import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
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
_OPTIMIZER = re.compile(r"(torch\.optim|wavenet\.optimizers)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")
_OPTIMIZERS = ("torch.optim.", "wavenet.optimizers.")


def check_trust(trust: Any) -> tuple[str, ...]:
    """Check a list of modules to trust.

    Args:
        trust: Module names: "mymodel" covers the classes in it and in `mymodel.sub`, not in `mymodel2`.

    Raises:
        ValueError: If it is not a list of module names.

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
    """Whether a class's full name is of this package."""
    return isinstance(target, str) and target.startswith(_OWN)


def module_class(target: Any, trust: Trust = ()) -> type[nn.Module]:
    """Return the class of a model or of a part of one.

    Args:
        target: Its full name, such as "wavenet.model.WaveNet".
        trust: Modules whose classes are allowed, too; see `check_trust`.

    Raises:
        ValueError: If it cannot be imported, is not a `torch.nn.Module`, or is not trusted (`UntrustedError`).
    """
    return allowed_class(target, _MODEL, nn.Module, trust)


def dataset_class(target: Any, trust: Trust = ()) -> type:
    """Return the class of a dataset; as `module_class`."""
    found = allowed_class(target, _DATASET, object, trust)
    if not callable(getattr(found, "scan", None)):
        raise ValueError(f"_target_ {target!r} is not a dataset; refused, as it has no method scan(), see wavenet.data")
    return found


def optimizer_class(target: Any, trust: Trust = ()) -> type[Optimizer]:
    """Return the class of an optimizer, of torch.optim, this package or a trusted module; as `module_class`."""
    return allowed_class(target, _OPTIMIZER, Optimizer, trust, _OPTIMIZERS)


def allowed_class(
    name: Any, pattern: re.Pattern[str], base: type, trust: Trust = (), homes: tuple[str, ...] = (_OWN,)
) -> Any:
    """Import a class by its full name if the name fits the pattern or its module is trusted.

    Args:
        name: The class's name, with its module.
        pattern: Matches the names that need no trust.
        base: The class must be a subclass of this.
        trust: Modules whose classes are allowed, too; see `check_trust`.
        homes: Prefixes of the modules in which a class that needs no trust is defined.

    Raises:
        ValueError: If it is not allowed, naming it. Nothing else is imported.
    """
    if isinstance(name, str) and pattern.fullmatch(name):
        module_name, _, class_name = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ImportError as error:
            if error.name is None:  # raised by this package, with the extra to install
                raise
            found = None
        if inspect.isclass(found) and issubclass(found, base) and f"{found.__module__}.".startswith(homes):
            return found
    if isinstance(name, str) and _CLASS.fullmatch(name):
        module_name = name.rpartition(".")[0]
        if _within(module_name, check_trust(trust)):
            return _trusted_class(name, base, trust)
        if module_name.partition(".")[0] not in (*sys.stdlib_module_names, *(home.partition(".")[0] for home in homes)):
            raise UntrustedError(name, module_name.partition(".")[0])
    raise ValueError(f"_target_ {name!r:.80} is not one of this package's own classes; refused")


def import_module(name: str) -> Any:
    """Import one of the user's modules: as Python finds it, else from the current folder.

    The current folder is searched for this module alone, so code in it never replaces a missing package.

    Raises:
        ValueError: If there is no such module, or importing it fails; gives the reason.
    """
    top, here = name.partition(".")[0], str(Path.cwd())
    try:
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            importlib.invalidate_caches()
            if here not in sys.path and importlib.machinery.PathFinder.find_spec(top, [here]) is not None:
                sys.path.append(here)  # permanently: it may import its neighbours later, and in other processes
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {error.name}, neither installed nor in {here}") from error
        raise ValueError(f"module {name} cannot be imported: {error}") from error
    except Exception as error:  # a module may raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"module {name} cannot be imported: {type(error).__name__}: {reason}") from error


def _within(module: str, trust: Trust) -> bool:
    return any(f"{module}.".startswith(f"{trusted}.") for trusted in trust)


def _trusted_class(name: str, base: type, trust: Trust) -> type:
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"_target_ {name!r} cannot be imported: {error}") from error
    if not inspect.isclass(found) or not issubclass(found, base):
        what = f"a {found.__name__}" if inspect.isclass(found) else f"a {type(found).__name__}, not a class"
        raise ValueError(f"_target_ {name!r} is {what}; refused, it must be a subclass of {base.__name__}")
    if not _within(found.__module__, trust):
        place = f"{found.__module__}.{found.__qualname__}"
        raise ValueError(f"_target_ {name!r} is defined elsewhere; refused, use {place}")
    return found
