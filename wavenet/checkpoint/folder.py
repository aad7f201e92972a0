"""A model as a folder of `config.json`, `model.safetensors`, and a card for those who are given it."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from wavenet.checkpoint.about import check_about
from wavenet.checkpoint.card import card
from wavenet.checkpoint.description import FORMAT_VERSION, describe
from wavenet.checkpoint.error import CheckpointError, refusing
from wavenet.checkpoint.faithful import check_described
from wavenet.checkpoint.strangers import check_finite, model_for
from wavenet.checkpoint.trust import Trust
from wavenet.model import WaveNet
from wavenet.untrusted import plan_of_safetensors, read_json
from wavenet.writing import reason, replacing_folder

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save(model: WaveNet, folder: str | os.PathLike[str]) -> Path:
    """Write a model as `config.json`, `model.safetensors` and `README.md`; the folder appears whole or not at all.

    README.md is the model's card, made of the model and of `model.about`: what it is, how to use it, what it learnt
    from, under which licences, and its bits per sample.

    Args:
        model: The model.
        folder: Is made; a folder that holds a saved model already is replaced, its card included.

    Returns:
        The folder.

    Raises:
        CheckpointError: If something else stands at that place, it cannot be written, `model.about` is not
            plain data, or the model is not what its description says; see `check_described`.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}: exists and is not a saved model; choose another folder")
    with refusing(folder, fix=""):
        about = check_about(model.about)
    try:
        check_described(model)
    except ValueError as error:
        raise CheckpointError(f"{folder}: not saved: {error}") from error
    config = {"format_version": FORMAT_VERSION} | ({"about": about} if about else {}) | {"model": describe(model)}
    try:
        with replacing_folder(folder, sign=CONFIG) as beside:
            (beside / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
            (beside / CARD).write_text(card(model), encoding="utf-8")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            seen: set[int] = set()  # what two modules share is written twice
            for name, tensor in state.items():
                state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
                seen.add(tensor.data_ptr())
            # its own writing to a file does not say why it failed
            (beside / WEIGHTS).write_bytes(safetensors.torch.save(state))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({reason(error)})") from error
    return folder


def read_folder(folder: Path, trust: Trust = ()) -> tuple[WaveNet, dict[str, Tensor]]:
    """A saved model on the meta device, perhaps of classes in the modules to trust, and its weights."""
    weights = folder / WEIGHTS
    with refusing(folder / CONFIG):
        config = read_config(folder)
    with refusing(weights):
        plan = plan_of_safetensors(weights)
    with refusing(folder):
        model = model_for(config, plan, trust)
    with refusing(weights):
        state = safetensors.torch.load_file(weights)
        check_finite(state)
    return model, state


def read_config(folder: Path) -> dict[str, Any]:
    """Read a saved model's `config.json`: its "format_version", "model" and perhaps "about".

    Raises:
        ValueError: If it is something else.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION or "model" not in config:
        raise ValueError(f'not a model config of format_version {FORMAT_VERSION} with a "model" entry')
    return config
