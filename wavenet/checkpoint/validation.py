"""The model that a stranger describes: what it may ask for, and whether there are weights for it."""

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
from wavenet.checkpoint.trust import Trust, is_own
from wavenet.model import WaveNet
from wavenet.types import format_value
from wavenet.untrusted import TensorPlan, check_name

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def build_checked_on_meta(config: dict[str, Any], state: dict[str, Any], trust: Trust = ()) -> WaveNet:
    """Build the model that a stranger's file describes, on the meta device, if it is made for these tensors.

    Args:
        config: Plain data with a "model" entry, as `describe` makes it, and perhaps "metadata".
        state: Tensors, or plans of them, by name.
        trust: Modules whose classes are built, too; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If it describes no model, or another one.
    """
    model = build_on_meta(config["model"], len(state), trust)
    check_state(state, model)
    model.metadata = check_metadata(config.get("metadata"))
    return model


def build_on_meta(config: Any, num_tensors: int = MAX_LAYERS, trust: Trust = ()) -> WaveNet:
    """Build a model that a stranger describes on the meta device, where it has shapes, but no numbers.

    Each argument is held to the bound that its class states (see `wavenet.bounds`). Without memory a model costs time
    still, a little for each of its parts and of the functions that its first weights are made of, and a mel filter bank
    is always built; so what all parts ask for together has bounds, too. A run is held to the same before it starts.

    Args:
        config: As `describe` makes it.
        num_tensors: How many tensors there are for it, if that is known; it cannot have more layers.
        trust: Modules whose classes are built, too; what they ask for is not limited.

    Raises:
        ValueError: If it is no such description, or one of something that nobody would want.
    """
    parts = list(_parts(config))
    if len(parts) > MAX_PARTS:
        raise ValueError(f"the config has {len(parts)} parts; a model has {MAX_PARTS} at most")
    for part in parts:
        _check_numbers(part)
    layers, most = sum(map(_layers, parts)), min(num_tensors, MAX_LAYERS)
    if layers > most:
        why = f"a model has {most}" if most == MAX_LAYERS else f"there are weights for {most}"
        raise ValueError(f"dilation_cycle x num_cycles make {layers} layers in all stacks; {why} at most")
    for name, largest in MAX_TOTALS.items():
        together = sum(number for part in parts if isinstance(number := part.get(name), int))
        if together > largest:
            raise ValueError(f"{name} of all parts are {together} together; they may be {largest}")
    try:
        with torch.device("meta"):
            model = build(config, trust)
    except (TypeError, AttributeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the config is of no model ({error})") from error
    if not isinstance(model, WaveNet):
        raise ValueError(f"the config describes a {type(model).__name__}, not a WaveNet")
    if is_own(config["_target_"]) and model.receptive_field > MAX_RECEPTIVE_FIELD:
        raise ValueError(
            f"dilation_cycle, num_cycles and kernel_size make a receptive field of {model.receptive_field:.4g} "
            f"samples; it may have {MAX_RECEPTIVE_FIELD}"
        )
    return model


def check_state(state: dict[str, Any], model: nn.Module) -> None:
    """Raise unless a state has just the model's tensors, in their shapes and one floating point type.

    Args:
        state: Tensors, or plans of them.
        model: The model.

    Raises:
        ValueError: Names what differs.
    """
    wanted = model.state_dict()
    if state.keys() != wanted.keys():
        differ = sorted(state.keys() ^ wanted.keys())
        raise ValueError(f"weights do not fit the config; {len(differ)} names differ, such as {differ[0]}")
    types = set()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor | TensorPlan):
            raise ValueError(f"weight {name} is no tensor")
        is_, should = (tuple(tensor.shape), tensor.dtype), tuple(wanted[name].shape)
        counts = not wanted[name].is_floating_point()  # as a BatchNorm1d does its batches
        if is_[0] != should or tensor.dtype not in ((wanted[name].dtype,) if counts else _FLOATS):
            what = wanted[name].dtype if counts else "floating point"
            raise ValueError(f"weight {name} is {is_}; the config wants {what} of shape {should}")
        types |= set() if counts else {tensor.dtype}
    if len(types) > 1:
        raise ValueError(f"weights are of several types: {', '.join(sorted(map(str, types)))}")


def check_finite(state: dict[str, Tensor]) -> None:
    """Raise ValueError if a weight is no number."""
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")


def _parts(config: Any, own: bool = True) -> Iterator[dict[str, Any]]:
    """All dicts in plain data; of those for classes that are not this package's only what is a name of a condition."""
    if isinstance(config, dict):
        own = is_own(config["_target_"]) if "_target_" in config else own
        if own:
            yield config
        elif isinstance(config.get("name"), str):
            yield {"name": config["name"]}
    for item in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _parts(item, own)


def _check_numbers(part: dict[str, Any]) -> None:
    """Hold a part's arguments to the bounds that its class states; a number without one is no number of a model."""
    owner = own_class(part.get("_target_"))
    bounds = {} if owner is None else bounds_of(owner)
    for name, value in part.items():
        kind = bounds.get(name)
        if kind is not None and not kind.accepts(value):
            raise ValueError(f"the config has {name}={format_value(value)}; it must be {kind}")
        if kind is None and owner is not None and _holds_numbers(value):
            raise ValueError(f"the config has {name}={format_value(value)}; no number is for that")
        if name == "name" and isinstance(value, str) and re.search(r"[/\\]|\.\.", check_name(value)):
            raise ValueError(f"the config has the name {value!a}; names of conditions are no paths")


def _holds_numbers(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _layers(part: dict[str, Any]) -> int:
    """Of a part with a stack; what it leaves out has its class's default."""
    owner = own_class(part.get("_target_"))
    usual = {} if owner is None else inspect.signature(owner).parameters
    names = [name for name in ("dilation_cycle", "num_cycles") if name in part or name in usual]
    numbers = [part.get(name, usual[name].default if name in usual else 0) for name in names]
    return math.prod(number for number in numbers if isinstance(number, int)) if numbers else 0
