"""A model's metadata: plain data about how it was trained, saved with it.

`wavenet.training` writes it: the data and its licences, the steps, the score on held-out utterances. As with everything
in a checkpoint, anyone may have written something else.
"""

import json
from typing import Any

_LIMIT = 2**17  # characters


def check_metadata(metadata: Any) -> dict[str, Any] | None:
    """Copy and check a model's metadata, on which nothing relies but the model card.

    Args:
        metadata: None or a dict of names, numbers, lists and dicts; see `wavenet.training.metadata`.

    Raises:
        ValueError: If it is something else, has more than 131072 characters, or text that cannot be printed.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is not a dict")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata holds something other than text and finite numbers ({error})") from None
    if len(text) > _LIMIT:
        raise ValueError(f"its metadata has {len(text)} characters; at most {_LIMIT} are allowed")
    plain = json.loads(text)
    _check_printable(plain)
    return plain


def printable(text: str, length: int = 500) -> str:
    r"""Make text one line of printable characters, shortened to a length.

    >>> printable("Zoë\n\u200b\u3000---")
    'Zoë ---'
    """
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    line = " ".join(words)
    return line if len(line) <= length else f"{line[: length - 4]} ..."


def entry_at(metadata: Any, *path: str) -> Any:
    """Look up nested dicts by a path of names; None if anything on the way is missing or not a dict.

    >>> entry_at({"data": {"seconds": 3}}, "data", "seconds")
    3
    >>> entry_at({"data": [3]}, "data", "seconds")
    """
    for name in path:
        metadata = metadata.get(name) if isinstance(metadata, dict) else None
    return metadata


def number_at(metadata: Any, *path: str) -> float | None:
    """As `entry_at`, if the value is a number of at most 64 bits, else None."""
    value = entry_at(metadata, *path)
    right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    return value if right else None


def text_at(metadata: Any, *path: str) -> str | None:
    """As `entry_at`, if the value is text, else None."""
    value = entry_at(metadata, *path)
    return value if isinstance(value, str) else None


def _check_printable(value: Any) -> None:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"its metadata holds {value!a:.60}, which cannot be printed")
    for item in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_printable(item)
