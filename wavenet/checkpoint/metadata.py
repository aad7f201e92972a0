"""What a model says about how it was made: plain data, which travels with it.

`training` writes it: the data and its licences, the steps, and what was held out scored. As with everything in a
checkpoint, a stranger may have written something else.
"""

import json
from typing import Any

_LIMIT = 2**17  # characters


def check_metadata(metadata: Any) -> dict[str, Any] | None:
    """Copy what a model says about itself; nothing relies on it but the card, which takes what it knows.

    Args:
        metadata: None or a dict of names, numbers, lists and dicts; see `wavenet.training.metadata`.

    Raises:
        ValueError: If it is something else, has more than `_LIMIT` characters, or holds what cannot be printed.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no dict")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata holds something else than names and finite numbers ({error})") from None
    if len(text) > _LIMIT:
        raise ValueError(f"its metadata has {len(text)} characters; {_LIMIT} are enough")
    plain = json.loads(text)
    _check_printable(plain)
    return plain


def printable(text: str, length: int = 500) -> str:
    r"""Text as one line of at most so many characters, all of which can be printed.

    >>> printable("Zoë\n\u200b\u3000---")
    'Zoë ---'
    """
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    line = " ".join(words)
    return line if len(line) <= length else f"{line[: length - 4]} ..."


def entry(metadata: Any, *path: str) -> Any:
    """What stands in dicts within dicts under these names; None if anything on the way is missing or no dict.

    >>> entry({"data": {"seconds": 3}}, "data", "seconds")
    3
    >>> entry({"data": [3]}, "data", "seconds")
    """
    for name in path:
        metadata = metadata.get(name) if isinstance(metadata, dict) else None
    return metadata


def number(metadata: Any, *path: str) -> float | None:
    """As `entry`, if it is a number of 64 bits at most."""
    value = entry(metadata, *path)
    right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    return value if right else None


def words(metadata: Any, *path: str) -> str | None:
    """As `entry`, if it is text."""
    value = entry(metadata, *path)
    return value if isinstance(value, str) else None


def _check_printable(value: Any) -> None:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"its metadata holds {value!a:.60}, which cannot be printed")
    for item in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_printable(item)
