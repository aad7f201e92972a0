"""The model that a stranger describes: what it may ask for, and whether there are weights for it."""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wavenet.checkpoint.about import check_about
from wavenet.checkpoint.description import build
from wavenet.checkpoint.trust import Trust, is_own
from wavenet.model import WaveNet
from wavenet.untrusted import TensorPlan, check_name

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

# What a description may ask for. Without memory a model costs time still, a little for each of its parts and of the
# functions that its first weights are made of; and a mel filter bank is always built.
_COSTLY = {"embedding_channels": 2**10, "encoding_channels": 2**10, "n_mels": 2**9}  # of all parts together
_LARGEST = _COSTLY | {"num_classes": 2**16, "n_fft": 2**13}
_LARGEST |= {"sample_rate": 2**20, "fmin": 2**20, "fmax": 2**20, "centre": 2**20}  # Hz
_LARGEST_ELSE = 2**14
_MOST_PARTS = 32
_MOST_LAYERS = 500
_LONGEST_FIELD = 2**24  # samples; generation remembers as many


def model_for(config: Any, state: dict[str, Any], trust: Trust = ()) -> WaveNet:
    """Build the model that a stranger's file describes, on the meta device, if it is made for these tensors.

    Args:
        config: Plain data with a "model" entry, as `describe` makes it, and perhaps "about".
        state: Tensors, or plans of them, by name.
        trust: Modules whose classes are built, too; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If it describes no model, or another one.
    """
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError('its description has no "model" entry')
    model = build_without_memory(config["model"], len(state), trust)
    check_state(state, model)
    model.about = check_about(config.get("about"))
    return model


def build_without_memory(config: Any, num_tensors: int = _MOST_LAYERS, trust: Trust = ()) -> WaveNet:
    """Build a model that a stranger describes on the meta device, where it has shapes, but no numbers.

    Args:
        config: As `describe` makes it.
        num_tensors: How many tensors there are for it, if that is known; it cannot have more layers.
        trust: Modules whose classes are built, too; what they ask for is not limited.

    Raises:
        ValueError: If it is no such description, or one of something that nobody would want.
    """
    parts = list(_parts(config))
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"the config has {len(parts)} parts; a model has {_MOST_PARTS} at most")
    for part in parts:
        _check_numbers(part)
    layers, most = sum(map(_layers, parts)), min(num_tensors, _MOST_LAYERS)
    if layers > most:
        raise ValueError(f"the config has {layers} layers; there are weights for {most} at most")
    for name, largest in _COSTLY.items():
        if sum(number for part in parts if isinstance(number := part.get(name), int)) > largest:
            raise ValueError(f"the config's parts have more than {largest} {name} together")
    try:
        with torch.device("meta"):
            model = build(config, trust)
    except (TypeError, AttributeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the config is of no model ({error})") from error
    if not isinstance(model, WaveNet):
        raise ValueError(f"the config describes a {type(model).__name__}, not a WaveNet")
    if is_own(config["_target_"]) and model.receptive_field > _LONGEST_FIELD:
        raise ValueError(f"the config's receptive field has {model.receptive_field:.3g} samples; it may have 2**24")
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
    for name, value in part.items():
        numbers = [n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int | float)]
        largest = _LARGEST.get(name, _LARGEST_ELSE)
        for number in numbers:
            if not abs(number) <= largest:
                raise ValueError(f"the config has {name}={number}; it may be {largest} at most")
        if len(numbers) > _MOST_PARTS:
            raise ValueError(f"the config has {len(numbers)} numbers for {name}; {_MOST_PARTS} are enough")
        if name == "name" and isinstance(value, str) and re.search(r"[/\\]|\.\.", check_name(value)):
            raise ValueError(f"the config has the name {value!a}; names of conditions are no paths")


def _layers(part: dict[str, Any]) -> int:
    numbers = [part[name] for name in ("dilation_cycle", "num_cycles") if name in part]
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"the config has {' x '.join(map(str, numbers))} layers; give whole numbers")
    return abs(math.prod(numbers)) if numbers else 0
