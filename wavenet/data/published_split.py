"""Names of a corpus's published lists, and which of them is held out."""

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
