"""Names of a corpus's published lists, and which of them is held out."""

import os
from pathlib import Path

from wavenet.data.dataset import DatasetError

HELD_OUT = ("validation", "test")


def check_held_out(held_out: str) -> str:
    """Return the name of the list that is held out.

    A run trains on neither list. It is validated on one of them, and a figure to compare with a published one is
    computed on the other.

    Raises:
        DatasetError: If it is neither "validation" nor "test".
    """
    if held_out not in HELD_OUT:
        raise DatasetError(f"dataset.held_out is '{held_out}'; it must be {' or '.join(HELD_OUT)}, a published list")
    return held_out


class PublishedClips:
    """What corpora of clips with published lists share: their settings.

    Args:
        root: The corpus's folder.
        held_out: The list to validate on; see `check_held_out`.
        stretch: Whether each clip is scaled so that its range is -1 to 1.

    Raises:
        DatasetError: If held_out is no published list.
    """

    def __init__(
        self, root: str | os.PathLike[str] = "data", held_out: str = "validation", stretch: bool = True
    ) -> None:
        self.root = Path(root)
        self.held_out = check_held_out(held_out)
        self.stretch = stretch
