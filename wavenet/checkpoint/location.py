"""Where a model is: from a path, a run's folder, or a name in the package or on the Hugging Face Hub to a path here."""

import os
from pathlib import Path

from wavenet.checkpoint.errors import CheckpointError
from wavenet.checkpoint.folder import CONFIG
from wavenet.checkpoint.hub import fetch
from wavenet.checkpoint.packaged import packaged_models
from wavenet.checkpoint.repository import is_repo
from wavenet.checkpoint.trust import Trust
from wavenet.names import closest

_RUNS = "runs"  # the folder of training's runs: runs/NAME is never a repository
_FILES = (".ckpt", ".safetensors", ".json", ".pt", ".pth")


def find(path: str | os.PathLike[str], revision: str | None = None, trust: Trust = ()) -> Path:
    """Resolve a run's folder to its best checkpoint (else its last); other paths are returned as they are.

    A bare name such as "babble" at which nothing lies here is that of a model of the package; see `packaged_models`.
    Whatever lies here under that name goes before it.

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
    packaged = packaged_models()
    if not path.exists() and str(path) in packaged:
        return packaged[str(path)]
    if path.is_dir():
        for candidate in (path, path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"):
            if (candidate / CONFIG).is_file() or candidate.is_file():
                return candidate
        raise CheckpointError(
            f"{path}: holds neither config.json with model.safetensors nor checkpoints/best.ckpt or last.ckpt"
            + "; it goes before the package's model of that name: rename it" * (str(path) in packaged)
        )
    if not path.is_file():
        why = _why_a_path(path) if isinstance(name, str) and is_repo(name) else ""
        raise CheckpointError(
            f"{path}: no such checkpoint; {_what_to_give(path, list(packaged))}"
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


def _what_to_give(path: Path, packaged: list[str]) -> str:
    """What to give in place of a path at which nothing lies; a bare name may be meant as that of a packaged model."""
    if not packaged or path.name != str(path) or path.suffix in _FILES:
        return "give a run's folder, a .ckpt file or a saved model"
    meant = closest(str(path), packaged)
    names = f"a model of the package ({', '.join(packaged)})"
    return f"did you mean {meant}? Else " * bool(meant) + f"give a run's folder, a .ckpt file, {names} or a saved model"
