"""A model from whatever holds one."""

import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from wavenet.checkpoint.description import build, describe, targets_of
from wavenet.checkpoint.errors import CheckpointError, refusing
from wavenet.checkpoint.folder import CONFIG, read_folder
from wavenet.checkpoint.hub import fetch
from wavenet.checkpoint.metadata import check_metadata
from wavenet.checkpoint.repository import is_repo
from wavenet.checkpoint.scores import scores_of
from wavenet.checkpoint.training_file import model_state, read_training_checkpoint
from wavenet.checkpoint.trust import Trust, check_trust, is_own
from wavenet.model import WaveNet

_OF_RUNS = "runs"  # the folder of training's runs: runs/NAME is never somebody's repository
_FILES = (".ckpt", ".safetensors", ".json", ".pt", ".pth")


def load(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    revision: str | None = None,
    trust: Trust = (),
) -> WaveNet:
    """Load a model for generation or evaluation.

    Args:
        path: A folder written by `save`; or a run's folder, of which the best checkpoint is taken;
            or a training checkpoint (.ckpt), of which the averaged weights are taken; or the name "owner/name" of a
            repository on the Hugging Face Hub, see `find`.
        device: Where to put it.
        revision: Of a repository: a branch, a tag or a commit; None is main.
        trust: Modules of one's own, or of somebody whom one trusts, whose classes the model may be made of, such as
            ["mymodel"] for `mymodel.Scaled`. Their code is run; they are looked for as Python does, then in the
            current folder.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If the file is missing, damaged or from elsewhere, or names a class that is
            neither this package's nor of a trusted module. Nothing in the file is run. Or if a repository is
            missing or not to be reached.
        ValueError: If there is no such device, or trust is no list of modules.
    """
    trust = check_trust(trust)
    path = find(path, revision, trust)
    if path.is_dir():
        model, state = read_folder(path, trust)
    else:
        model, contents = read_training_checkpoint(path, trust)
        state = model_state(contents["state_dict"])
        scores = scores_of(path)
        with suppress(ValueError):  # a lot is said already
            model.metadata = check_metadata(
                {**(model.metadata or {}), "evaluation": scores} if scores else model.metadata
            )
    if all(map(is_own, targets_of(describe(model)))):
        model.load_state_dict(state, assign=True)
    else:
        with refusing(path):
            model = _with_memory(model, state, trust)
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device}: not to be had here ({str(error).splitlines()[0]}); use device=cpu"
        ) from error


def _with_memory(outline: WaveNet, state: dict[str, Tensor], trust: Trust) -> WaveNet:
    """Build a model once more: what classes of the user's made in their constructors need not be among its weights."""
    with torch.random.fork_rng(devices=[]):
        model = build(describe(outline), trust)
    model.to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point()))
    model.load_state_dict(state)
    model.metadata = outline.metadata
    return model


def find(path: str | os.PathLike[str], revision: str | None = None, trust: Trust = ()) -> Path:
    """Resolve a run's folder to its best checkpoint (else its last); other paths stay as they are.

    Text such as "owner/name" at which nothing lies is looked for on the Hugging Face Hub, and its files are fetched
    into the Hub's cache. That does not happen if it may be a mistyped path: it begins with runs/ or with the name of a
    folder that is here, or ends as a file does. With a revision, it does. A repository's
    model may be made of classes in the modules to trust.

    Raises:
        CheckpointError: If there is nothing to load.
    """
    name, path = path, Path(path)
    if not path.exists() and isinstance(name, str) and is_repo(name) and (revision or not _why_a_path(path)):
        return fetch(name, revision, trust)
    if revision is not None:
        raise CheckpointError(f"{path}: revision={revision} is for a repository on the Hub, owner/name; leave it out")
    if path.is_dir():
        candidates = [path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"]
        for candidate in candidates:
            if (candidate / CONFIG).is_file() or candidate.is_file():
                return candidate
        raise CheckpointError(
            f"{path}: holds neither config.json with model.safetensors nor checkpoints/best.ckpt or last.ckpt"
        )
    if not path.is_file():
        why = _why_a_path(path) if isinstance(name, str) and is_repo(name) else ""
        raise CheckpointError(
            f"{path}: no such checkpoint; give a run's folder, a .ckpt file or a saved model"
            + f" (it is not looked for on the Hugging Face Hub, because {why})" * bool(why)
        )
    return path


def _why_a_path(path: Path) -> str:
    """Why a name that could be a repository's is rather meant as a path here; empty if it is not."""
    owner = path.parts[0]
    if owner == _OF_RUNS:
        return f"{owner}/ is where training writes"
    if Path(owner).exists():
        return f"there is {owner} here"
    return f"it ends in {path.suffix}" if path.suffix in _FILES else ""
