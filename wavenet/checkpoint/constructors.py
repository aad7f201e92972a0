"""The arguments of constructors, with those that `**kwargs` hands on to base classes."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn


def constructor_parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class's constructor, with those that `**kwargs` passes on to its bases.

    Args:
        constructor: A class, or any other callable, of which only the named arguments are returned.

    Returns:
        The arguments by name, the subclass's own first; without `*args` and `**kwargs`.

    >>> class Scaled(nn.Linear):
    ...     def __init__(self, gain: float, **kwargs): ...
    >>> list(constructor_parameters(Scaled))[:3]
    ['gain', 'in_features', 'out_features']
    """
    return _arguments(constructor)[0]


def takes_any(constructor: Callable[..., Any]) -> bool:
    """Whether a constructor takes arguments of any name, which none of its bases lists."""
    return _arguments(constructor)[1]


def check_arguments(name: str, constructor: Callable[..., Any], given: Sequence[str], partial: bool = False) -> None:
    """Check that a class takes exactly these arguments.

    Args:
        name: The name for messages.
        constructor: The class.
        given: The arguments' names.
        partial: Whether more are added later.

    Raises:
        ValueError: Names the first unknown or missing argument.
    """
    known, any_other = _arguments(constructor)
    for each in given:
        if each not in known and not any_other:
            raise ValueError(f"{name} got an unexpected keyword argument {each!r:.80}; it takes {', '.join(known)}")
    for each, parameter in known.items():
        if not partial and each not in given and parameter.default is parameter.empty:
            raise ValueError(f"{name} is missing a required argument: {each!r}")


def _arguments(constructor: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Named arguments, and whether others are allowed."""
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
