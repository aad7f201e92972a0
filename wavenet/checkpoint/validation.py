"""Checks of a model's description from an untrusted file: its numbers are in bounds, and its weights fit."""

import inspect
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wavenet.bounds import MAX_LAYERS, MAX_PARTS, MAX_RECEPTIVE_FIELD, MAX_TOTALS, bounds_of
from wavenet.checkpoint.description import build, own_class
from wavenet.checkpoint.metadata import check_metadata
from wavenet.checkpoint.plain_data import TensorPlan, check_name
from wavenet.checkpoint.trust import Trust, is_own
from wavenet.model import WaveNet
from wavenet.types import format_value

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def build_checked_on_meta(config: dict[str, Any], state: dict[str, Any], trust: Trust = ()) -> WaveNet:
    """Build the model that an untrusted file describes, on the meta device, and check that these are its weights.

    Args:
        config: Plain data with a "model" entry, as `describe` makes it, and perhaps "metadata".
        state: Tensors, or plans of them, by name.
        trust: Modules whose classes are built, too; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If it does not describe a model, or one with other weights.
    """
    model = build_on_meta(config["model"], len(state), trust)
    check_state(state, model)
    model.metadata = check_metadata(config.get("metadata"))
    return model


def build_on_meta(config: Any, num_tensors: int = MAX_LAYERS, trust: Trust = ()) -> WaveNet:
    """Build a model from an untrusted description on the meta device, where tensors have shapes but no memory.

    Each argument must be within the bound that its class states (see `wavenet.bounds`). Even without memory each part
    takes a little time, its initialisation some more, and a mel filter bank is always computed; so the totals of all
    parts are bounded, too. A run is checked in the same way before it starts.

    Args:
        config: As `describe` makes it.
        num_tensors: Number of its tensors, if known; it cannot have more layers than these.
        trust: Modules whose classes are built, too; their arguments are not bounded.

    Raises:
        ValueError: If it is not such a description, or a number in it is out of bounds.
    """
    parts = list(_parts(config))
    if len(parts) > MAX_PARTS:
        raise ValueError(f"the config has {len(parts)} parts; a model has at most {MAX_PARTS}")
    for part in parts:
        _check_numbers(part)
    layers, most = sum(map(_layers, parts)), min(num_tensors, MAX_LAYERS)
    if layers > most:
        why = f"a model has at most {most}" if most == MAX_LAYERS else f"there are weights for at most {most}"
        raise ValueError(f"dilation_cycle x num_cycles make {layers} layers in all stacks; {why}")
    for name, largest in MAX_TOTALS.items():
        together = sum(number for part in parts if isinstance(number := part.get(name), int))
        if together > largest:
            raise ValueError(f"the sum of {name} over all parts is {together}; it may be at most {largest}")
    try:
        with torch.device("meta"):
            model = build(config, trust)
    except (TypeError, AttributeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the config does not describe a model ({error})") from error
    if not isinstance(model, WaveNet):
        raise ValueError(f"the config describes a {type(model).__name__}, not a WaveNet")
    if is_own(config["_target_"]) and model.receptive_field > MAX_RECEPTIVE_FIELD:
        raise ValueError(
            f"dilation_cycle, num_cycles and kernel_size make a receptive field of {model.receptive_field:.4g} "
            f"samples; it may have at most {MAX_RECEPTIVE_FIELD}"
        )
    return model


def check_state(state: dict[str, Any], model: nn.Module) -> None:
    """Check that a state has exactly the model's tensors, in their shapes and of one floating point type.

    Args:
        state: Tensors, or plans of them.
        model: The model.

    Raises:
        ValueError: Names the first difference.
    """
    wanted = model.state_dict()
    if state.keys() != wanted.keys():
        differ = sorted(state.keys() ^ wanted.keys())
        raise ValueError(f"weights do not fit the config; {len(differ)} names differ, such as {differ[0]}")
    types = set()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor | TensorPlan):
            raise ValueError(f"weight {name} is not a tensor")
        is_, should = (tuple(tensor.shape), tensor.dtype), tuple(wanted[name].shape)
        counts = not wanted[name].is_floating_point()  # as a BatchNorm1d does its batches
        if is_[0] != should or tensor.dtype not in ((wanted[name].dtype,) if counts else _FLOATS):
            what = wanted[name].dtype if counts else "floating point"
            raise ValueError(f"weight {name} is {is_}; the config wants {what} of shape {should}")
        types |= set() if counts else {tensor.dtype}
    if len(types) > 1:
        raise ValueError(f"weights are of several types: {', '.join(sorted(map(str, types)))}")


def check_finite(state: dict[str, Tensor]) -> None:
    """Raise ValueError if a weight is NaN or infinite."""
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")


def _parts(config: Any, own: bool = True) -> Iterator[dict[str, Any]]:
    """All dicts in plain data; of a class that is not this package's, only the name of its condition."""
    if isinstance(config, dict):
        own = is_own(config["_target_"]) if "_target_" in config else own
        if own:
            yield config
        elif isinstance(config.get("name"), str):
            yield {"name": config["name"]}
    for item in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _parts(item, own)


def _check_numbers(part: dict[str, Any]) -> None:
    """Check a part's arguments against the bounds of its class; a number without a bound is refused."""
    owner = own_class(part.get("_target_"))
    bounds = {} if owner is None else bounds_of(owner)
    for name, value in part.items():
        kind = bounds.get(name)
        if kind is not None and not kind.accepts(value):
            raise ValueError(f"the config has {name}={format_value(value)}; it must be {kind}")
        if kind is None and owner is not None and _holds_numbers(value):
            raise ValueError(f"the config has {name}={format_value(value)}; it takes no number")
        if name == "name" and isinstance(value, str) and re.search(r"[/\\]|\.\.", check_name(value)):
            raise ValueError(f"the config has the name {value!a}; a condition's name must not be a path")


def _holds_numbers(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _layers(part: dict[str, Any]) -> int:
    """Number of layers of a part with a stack; missing arguments have the class's defaults."""
    owner = own_class(part.get("_target_"))
    usual = {} if owner is None else inspect.signature(owner).parameters
    names = [name for name in ("dilation_cycle", "num_cycles") if name in part or name in usual]
    numbers = [part.get(name, usual[name].default if name in usual else 0) for name in names]
    return math.prod(number for number in numbers if isinstance(number, int)) if numbers else 0
