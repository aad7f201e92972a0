"""A saved model: a folder of `config.json`, `model.safetensors` and a model card."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from wavenet.atomic_files import atomic_folder, os_error_reason
from wavenet.checkpoint.card import card
from wavenet.checkpoint.description import describe
from wavenet.checkpoint.errors import CheckpointError, refusing
from wavenet.checkpoint.metadata import check_metadata
from wavenet.checkpoint.plain_data import read_json
from wavenet.checkpoint.reconstruction import check_reconstructs
from wavenet.checkpoint.safetensors_file import plan_of_safetensors
from wavenet.checkpoint.trust import Trust
from wavenet.checkpoint.upgrade import FORMAT_VERSION, upgrade_description, upgrade_state
from wavenet.checkpoint.validation import build_checked_on_meta, check_finite
from wavenet.model import WaveNet

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save(model: WaveNet, folder: str | os.PathLike[str]) -> Path:
    """Write a model as `config.json`, `model.safetensors` and `README.md`; the folder appears whole or not at all.

    README.md is the model card, made from the model and `model.metadata`: architecture, usage, training data and its
    licences, and bits per sample.

    Args:
        model: The model.
        folder: Created; if it already holds a saved model, that is replaced, its card included.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the folder holds something else or cannot be written, `model.metadata` is not plain
            data, or the model differs from its description; see `check_reconstructs`.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}: exists and is not a saved model; choose another folder")
    with refusing(folder, fix=""):
        metadata = check_metadata(model.metadata)
    try:
        check_reconstructs(model)
    except ValueError as error:
        raise CheckpointError(f"{folder}: not saved: {error}") from error
    config = (
        {"format_version": FORMAT_VERSION} | ({"metadata": metadata} if metadata else {}) | {"model": describe(model)}
    )
    try:
        with atomic_folder(folder, sign=CONFIG) as beside:
            (beside / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
            (beside / CARD).write_text(card(model), encoding="utf-8")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            seen: set[int] = set()  # safetensors needs shared tensors written twice
            for name, tensor in state.items():
                state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
                seen.add(tensor.data_ptr())
            # save_file does not say why writing failed
            (beside / WEIGHTS).write_bytes(safetensors.torch.save(state))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({os_error_reason(error)})") from error
    return folder


def read_folder(folder: Path, trust: Trust = ()) -> tuple[WaveNet, dict[str, Tensor]]:
    """Read a saved model, on the meta device, and its weights."""
    weights = folder / WEIGHTS
    with refusing(folder / CONFIG):
        saved = read_json(folder / CONFIG)
        config = upgrade_description(saved)
    with refusing(weights):
        plan = upgrade_state(plan_of_safetensors(weights), saved["format_version"])
    with refusing(folder):
        model = build_checked_on_meta(config, plan, trust)
    with refusing(weights):
        state = upgrade_state(safetensors.torch.load_file(weights), saved["format_version"])
        check_finite(state)
    return model, state


def read_config(folder: Path) -> dict[str, Any]:
    """Read a saved model's `config.json`: its "format_version", "model" and perhaps "metadata".

    Raises:
        ValueError: If it is something else.
    """
    return upgrade_description(read_json(folder / CONFIG))
