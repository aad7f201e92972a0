"""Where a model is: from a path, a run's folder or a name on the Hugging Face Hub to a file or folder here."""

import os
from pathlib import Path

from wavenet.checkpoint.errors import CheckpointError
from wavenet.checkpoint.folder import CONFIG
from wavenet.checkpoint.hub import fetch
from wavenet.checkpoint.repository import is_repo
from wavenet.checkpoint.trust import Trust

_RUNS = "runs"  # the folder of training's runs: runs/NAME is never a repository
_FILES = (".ckpt", ".safetensors", ".json", ".pt", ".pth")


def find(path: str | os.PathLike[str], revision: str | None = None, trust: Trust = ()) -> Path:
    """Resolve a run's folder to its best checkpoint (else its last); other paths are returned as they are.

    Text such as "owner/name" at which no file lies is looked up on the Hugging Face Hub, and its files are fetched into
    the Hub's cache; but not if it may be a mistyped path, that is, if it begins with runs/ or with the name of a folder
    that exists here, or ends as a file does. With a revision it is looked up in any case. A repository's model may be
    made of classes in the modules to trust.

    Raises:
        CheckpointError: If there is nothing to load.
    """
    name, path = path, Path(path)
    if not path.exists() and isinstance(name, str) and is_repo(name) and (revision or not _why_a_path(path)):
        return fetch(name, revision, trust)
    if revision is not None:
        raise CheckpointError(f"{path}: revision={revision} is for a repository on the Hub, owner/name; leave it out")
    if path.is_dir():
        for candidate in (path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"):
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
    """Why a name that could be a repository's is taken for a path here; empty if it is not."""
    owner = path.parts[0]
    if owner == _RUNS:
        return f"{owner}/ is where training writes"
    if Path(owner).exists():
        return f"there is {owner} here"
    return f"it ends in {path.suffix}" if path.suffix in _FILES else ""
