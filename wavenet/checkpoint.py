"""A model as a folder of `config.json` and `model.safetensors`, and how to get one back.

Every file is treated as a stranger's. First it is only asked what it holds (see `untrusted`); the model
that it describes is built without memory, from this package's own classes, and must want just these
tensors; only then are they read.
"""

import importlib
import inspect
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wavenet.model import WaveNet
from wavenet.untrusted import (
    TensorPlan,
    check_file,
    check_name,
    check_sums,
    plan_of_archive,
    plan_of_safetensors,
    read_json,
)
from wavenet.writing import reason, replacing_folder

FORMAT_VERSION = 1
_MODEL_TARGET = re.compile(r"wavenet\.(model|nn|distributions|conditioning)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_REASON_LENGTH = 140  # characters
_FIX = "; use another checkpoint, or fetch this one again"

# What a description may ask for. Without memory a model costs time still, a little for each of its parts and of the
# functions that its first weights are made of; and a mel filter bank is always built.
_COSTLY = {"embedding_channels": 2**10, "encoding_channels": 2**10, "n_mels": 2**9}  # of all parts together
_LARGEST = _COSTLY | {"num_classes": 2**16, "n_fft": 2**13}
_LARGEST |= {"sample_rate": 2**20, "fmin": 2**20, "fmax": 2**20, "centre": 2**20}  # Hz
_LARGEST_ELSE = 2**14
_MOST_PARTS = 32
_MOST_LAYERS = 500
_LONGEST_FIELD = 2**24  # samples; generation remembers as many
_ROOM = 64 * 2**20  # bytes of a training checkpoint beside eight times its weights


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


class TrainingCheckpoint(NamedTuple):
    """What is in a training checkpoint.

    Attributes:
        model: The model that it describes, on the meta device: without weights.
        contents: Its plain data and tensors.
    """

    model: WaveNet
    contents: dict[str, Any]


def save(model: WaveNet, folder: str | os.PathLike[str]) -> Path:
    """Write a model as `config.json` and `model.safetensors`; the folder appears whole or not at all.

    Args:
        model: The model.
        folder: Is made; a folder that holds a saved model already is replaced.

    Returns:
        The folder.

    Raises:
        CheckpointError: If something else stands at that place, or it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: exists and is not a saved model; choose another folder")
    config = {"format_version": FORMAT_VERSION, "model": describe(model)}
    try:
        with replacing_folder(folder, sign="config.json") as beside:
            (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            # its own writing to a file does not say why it failed
            (beside / "model.safetensors").write_bytes(safetensors.torch.save(state))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({reason(error)})") from error
    return folder


def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> WaveNet:
    """Load a model for generation or evaluation.

    Args:
        path: A folder written by `save`; or a run's folder, of which the best checkpoint is taken;
            or a training checkpoint (.ckpt), of which the averaged weights are taken.
        device: Where to put it.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If the file is missing, damaged or from elsewhere, or names a class that is
            not this package's. Nothing in the file is run.
        ValueError: If there is no such device.
    """
    path = find(path)
    if path.is_dir():
        model, state = _read_saved(path)
    else:
        model, contents = read_training_checkpoint(path)
        state = model_state(contents["state_dict"])
    model.load_state_dict(state, assign=True)
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device}: not to be had here ({str(error).splitlines()[0]}); use device=cpu"
        ) from error


def find(path: str | os.PathLike[str]) -> Path:
    """Resolve a run's folder to its best checkpoint (else its last); other paths stay as they are.

    Raises:
        CheckpointError: If there is nothing to load.
    """
    path = Path(path)
    if path.is_dir():
        candidates = [path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"]
        for candidate in candidates:
            if (candidate / "config.json").is_file() or candidate.is_file():
                return candidate
        raise CheckpointError(
            f"{path}: holds neither config.json with model.safetensors nor checkpoints/best.ckpt or last.ckpt"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a run's folder, a .ckpt file or a saved model")
    return path


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


def read_training_checkpoint(path: Path) -> TrainingCheckpoint:
    """Read a training checkpoint's plain data and tensors.

    Raises:
        CheckpointError: If it is damaged, holds objects that would have to be run or much more than a
            model's training needs, or its weights do not fit the model that it describes.
    """
    with refusing(path, "not a checkpoint that can be loaded safely"):
        plan = plan_of_archive(path)
    with refusing(path):
        if not isinstance(plan, dict) or not {"wavenet", "state_dict"} <= plan.keys():
            raise ValueError("not a checkpoint of this package (it has no 'wavenet' entry)")
        model = _model_for(plan["wavenet"], model_state(plan["state_dict"]))
        check_file(path, 8 * sum(tensor.nbytes for tensor in model.state_dict().values()) + _ROOM)
        check_sums(path)
        contents = torch.load(path, map_location="cpu", weights_only=True)
        _check_finite(model_state(contents["state_dict"]))
    return TrainingCheckpoint(model, contents)


def model_state(state: Any) -> dict[str, Any]:
    """The model's tensors of a training checkpoint's `state_dict`, under their own names.

    Raises:
        ValueError: If it is no dict.
    """
    if not isinstance(state, dict):
        raise ValueError("its state_dict is no dict")
    return {str(name)[6:]: tensor for name, tensor in state.items() if str(name).startswith("model.")}


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
        if is_[0] != should or tensor.dtype not in _FLOATS:
            raise ValueError(f"weight {name} is {is_}; the config wants floating point of shape {should}")
        types.add(tensor.dtype)
    if len(types) > 1:
        raise ValueError(f"weights are of several types: {', '.join(sorted(map(str, types)))}")


@contextmanager
def refusing(path: Path, what: str = "", fix: str = _FIX) -> Iterator[None]:
    """Make one line of whatever goes wrong with a stranger's file, which may be made to mislead its readers.

    Args:
        path: The file.
        what: What it is not.
        fix: What to do about it.

    Raises:
        CheckpointError: If anything is raised; it may quote what the stranger wrote, printable and shortened.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
            reason = f"it is damaged, or not what it says ({type(error).__name__}: {reason})"
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        reason = reason if len(reason) <= _REASON_LENGTH else f"{reason[:_REASON_LENGTH]} ..."
        raise CheckpointError(f"{path}: {f'{what} ({reason})' if what else reason}{fix}") from error


def _read_saved(folder: Path) -> tuple[WaveNet, dict[str, Tensor]]:
    """A saved model on the meta device, and its weights."""
    weights = folder / "model.safetensors"
    with refusing(folder / "config.json"):
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION or "model" not in config:
            raise ValueError(f'not a model config of format_version {FORMAT_VERSION} with a "model" entry')
    with refusing(weights):
        plan = plan_of_safetensors(weights)
    with refusing(folder):
        model = _model_for(config, plan)
    with refusing(weights):
        state = safetensors.torch.load_file(weights)
        _check_finite(state)
    return model, state


def _model_for(config: Any, state: dict[str, Any]) -> WaveNet:
    """Build the model that a stranger's file describes, on the meta device, if it is made for these tensors."""
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError('its description has no "model" entry')
    model = build_without_memory(config["model"], len(state))
    check_state(state, model)
    return model


def build_without_memory(config: Any, num_tensors: int) -> WaveNet:
    """Build a model that a stranger describes on the meta device, where it has shapes, but no numbers.

    Args:
        config: As `describe` makes it.
        num_tensors: How many tensors there are for it; it cannot have more layers.

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
            model = build(config)
    except (TypeError, AttributeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the config is of no model ({error})") from error
    if not isinstance(model, WaveNet):
        raise ValueError(f"the config describes a {type(model).__name__}, not a WaveNet")
    if model.receptive_field > _LONGEST_FIELD:
        raise ValueError(f"the config's receptive field has {model.receptive_field:.3g} samples; it may have 2**24")
    return model


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All dicts in plain data."""
    if isinstance(config, dict):
        yield config
    for item in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _parts(item)


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


def _check_finite(state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")


def _plain(value: Any) -> Any:
    if isinstance(value, nn.ModuleDict):
        return {name: describe(module) for name, module in value.items()}
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value
