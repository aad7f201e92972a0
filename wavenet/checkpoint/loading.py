"""A model from whatever holds one."""

import os
from pathlib import Path

import torch

from wavenet.checkpoint.error import CheckpointError
from wavenet.checkpoint.folder import read_folder
from wavenet.checkpoint.training_file import model_state, read_training_checkpoint
from wavenet.model import WaveNet


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
        model, state = read_folder(path)
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
