"""A model as a folder of `config.json` and `model.safetensors`, and how to get one back.

Every file is treated as a stranger's: weights are read without unpickling objects, and only this
package's own classes are built.
"""

import importlib
import inspect
import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wavenet.model import WaveNet
from wavenet.writing import reason

FORMAT_VERSION = 1
_MODEL_TARGET = re.compile(r"wavenet\.(model|nn|distributions|conditioning)(\.[a-z0-9_]+)?\.[A-Z][A-Za-z0-9]*")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


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
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            beside.chmod(0o755)
            (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            # its own writing to a file does not say why it failed
            (beside / "model.safetensors").write_bytes(safetensors.torch.save(state))
            _exchange(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({reason(error)})") from error
    return folder


def _exchange(beside: Path, folder: Path) -> None:
    """Put a folder into another's place, which stays as it is if that fails."""
    replaced = beside.with_name(f"{beside.name}-replaced")
    there = folder.exists()
    if there:
        folder.rename(replaced)
    try:
        beside.rename(folder)
    except OSError:
        if there:
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


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
        config, state = _read_config(path / "config.json"), _read_safetensors(path / "model.safetensors")
    else:
        checkpoint = read_training_checkpoint(path)
        config = checkpoint["wavenet"]
        state = {
            name.removeprefix("model."): tensor
            for name, tensor in checkpoint["state_dict"].items()
            if name.startswith("model.")
        }
    try:
        with torch.device("meta"):  # a lying config allocates nothing
            model = build(config["model"])
        if not isinstance(model, WaveNet):
            raise ValueError(f"the config describes a {type(model).__name__}, not a WaveNet")
        model.load_state_dict(_checked(state, model), assign=True)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: {error}") from error
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


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint's plain data and tensors.

    Raises:
        CheckpointError: If it is damaged, holds objects that would have to be run, or is not ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a checkpoint that can be loaded safely ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"wavenet", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path}: not a checkpoint of this package (it has no 'wavenet' entry)")
    return checkpoint


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION or "model" not in config:
        raise CheckpointError(f'{path}: not a model config of format_version {FORMAT_VERSION} with a "model" entry')
    return config


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})") from error


def _checked(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state if it has just the model's tensors, in their shapes, with finite numbers."""
    wanted = model.state_dict()
    if state.keys() != wanted.keys():
        differ = sorted(state.keys() ^ wanted.keys())
        raise ValueError(f"weights do not fit the config; {len(differ)} names differ, such as {differ[0]}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape or not tensor.is_floating_point():
            is_, should = (tuple(tensor.shape), tensor.dtype), tuple(wanted[name].shape)
            raise ValueError(f"weight {name} is {is_}; the config wants floating point of shape {should}")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")
    return state


def _plain(value: Any) -> Any:
    if isinstance(value, nn.ModuleDict):
        return {name: describe(module) for name, module in value.items()}
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value
