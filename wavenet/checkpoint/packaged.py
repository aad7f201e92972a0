"""Models that come with the package, which `load` finds by their bare names."""

import os
from pathlib import Path

from wavenet.checkpoint.folder import CONFIG
from wavenet.package_data import package_folder

_FOLDER = "data/models"


def packaged_models() -> dict[str, Path]:
    """Return the folders of the models that come with the package, by name; see `save` for what is in each.

    "babble" speaks without meaning in the voices of the package's recordings, "vocoder" turns mel spectrograms into
    audio. Each has a model card, README.md, with its data, licences and scores.
    """
    folder = package_folder(_FOLDER)
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}


def in_package(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies in the folder of these models, in which nobody but `scripts/package_model.py` writes."""
    return Path(path).resolve().is_relative_to(package_folder(_FOLDER).resolve())
