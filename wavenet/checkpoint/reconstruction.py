"""A check that a model's description rebuilds the same network, so that it can be saved."""

import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from wavenet.checkpoint.description import describe, modules_of, targets_of
from wavenet.checkpoint.trust import is_own
from wavenet.checkpoint.validation import build_on_meta, check_state
from wavenet.model import WaveNet

_NOT_COMPARED = {"training", "metadata", "gradient_checkpointing"}  # without effect on what is computed
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FIX = "; make the change in the constructor of your own class, with arguments for it, or undo it"
_FIX_OF_BUILDING = (
    "; a constructor must take all its arguments by name, store them unchanged, and not read tensors' values"
)
_ABSENT = object()


def check_reconstructs(model: WaveNet) -> None:
    """Check that a model's description builds the same network: what is saved is what will be loaded.

    The network is built again on the meta device and compared module by module: classes, public attributes that are
    plain data or functions, shapes of weights and buffers, numbers of hooks, replaced methods. What a class does in its
    own constructor is in both.

    Args:
        model: The model, on any device.

    Raises:
        ValueError: Names the module that differs, and the difference.
    """
    config = describe(model)
    state = model.state_dict()
    try:
        with torch.random.fork_rng(devices=[]):
            again = build_on_meta(config, len(state), modules_of(config))
    except Exception as error:  # a user's constructor may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        fix = "" if all(map(is_own, targets_of(config))) else _FIX_OF_BUILDING
        raise ValueError(f"{type(model).__name__} cannot be built from its description: {reason:.200}{fix}") from error
    ours, theirs = dict(_modules(model)), dict(_modules(again))
    for name in [*ours, *theirs]:
        place = name or "the model"
        if name not in theirs or name not in ours:
            built = f"builds a {_class(theirs[name])} there" if name in theirs else "builds nothing there"
            what = f"is a {_class(ours[name])}" if name in ours else "does not exist"
            raise ValueError(f"{place} {what}, and the description {built}{_FIX}")
        _compare(place, ours[name], theirs[name])
    _compare_kinds(dict(model.named_parameters()), dict(again.named_parameters()))
    _compare_tensors(dict(model.named_buffers()), dict(again.named_buffers()))
    _compare_tensors(state, again.state_dict())
    check_state(state, again)


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(model.named_modules(remove_duplicate=False))


def _class(module: nn.Module) -> str:
    return type_before_parametrizations(module).__name__


def _compare(place: str, ours: nn.Module, theirs: nn.Module) -> None:
    if type_before_parametrizations(ours) is not type_before_parametrizations(theirs):
        raise ValueError(f"{place} is a {_class(ours)}, and the description builds a {_class(theirs)}{_FIX}")
    for kind in _HOOKS:
        counts = [len(getattr(module, kind)) for module in (ours, theirs)]
        if counts[0] != counts[1]:
            what = kind.strip("_").replace("_", " ")
            raise ValueError(f"{place} has {counts[0]} {what}, and the description builds it with {counts[1]}{_FIX}")
    mine, other = _attributes(ours), _attributes(theirs)
    for name in [*mine, *other]:
        given, built = mine.get(name, _ABSENT), other.get(name, _ABSENT)
        if not _same(given, built):
            has = f"has no {name}" if given is _ABSENT else f"has {name}={given!r:.60}"
            builds = f"without {name}" if built is _ABSENT else f"with {name}={built!r:.60}"
            raise ValueError(f"{place} {has}, and the description builds it {builds}{_FIX}")


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Public attributes that are plain data or functions, and those that replace a method."""
    found = {}
    for name, value in vars(module).items():
        replaces = callable(value) and callable(getattr(type(module), name, None))
        if (name.startswith("_") and not replaces) or name in _NOT_COMPARED:
            continue
        if _is_plain(value):
            found[name] = value
        elif replaces or isinstance(value, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
            found[name] = _Function(value)
    return found


class _Function:
    """A function, compared by its name."""

    def __init__(self, function: Any) -> None:
        module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", type(function).__name__)
        self.name = f"{module}.{name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Function) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str | int) for name in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _same(given: Any, built: Any) -> bool:
    if isinstance(given, list | tuple) and isinstance(built, list | tuple):
        return len(given) == len(built) and all(map(_same, given, built))
    return given is built or (type(given) is type(built) and given == built)


def _compare_kinds(ours: dict[str, nn.Parameter], theirs: dict[str, nn.Parameter]) -> None:
    for name in ours.keys() & theirs.keys():
        kinds = [type(parameters[name]).__name__ for parameters in (ours, theirs)]
        if type(ours[name]) is not type(theirs[name]):
            raise ValueError(f"{name} is a {kinds[0]}, and the description builds a {kinds[1]}{_FIX}")


def _compare_tensors(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name in [*ours, *theirs]:
        shapes = [tuple(tensors[name].shape) if name in tensors else None for tensors in (ours, theirs)]
        if shapes[0] != shapes[1]:
            what = ["no such tensor" if shape is None else f"a tensor of shape {shape}" for shape in shapes]
            raise ValueError(f"{name} is {what[0]}, and the description builds {what[1]}{_FIX}")
