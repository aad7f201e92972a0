"""Plain data in files from anywhere: text, JSON, and what a checkpoint holds beside its tensors.

Every function raises ValueError with one line that says what is wrong; the caller adds the file's name.
"""

import json
import math
import stat
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import torch

TEXT_LIMIT = 2**21  # bytes of JSON
VALUES_LIMIT = 250_000  # values of a description
_MODEL_LIMIT = 2**20  # bytes of JSON that describe a model; the rest is for its metadata
_DEPTH_LIMIT = 32
_NAME_LIMIT = 4096  # characters, of a path


class TensorPlan(NamedTuple):
    """A tensor in a file: its type and shape, without its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its values, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def check_file(path: Path, limit: int | None = None) -> int:
    """Check that a path is (or links to) a regular file: reading from a pipe could block for ever.

    Args:
        path: The file.
        limit: Its maximum size, bytes.

    Returns:
        Its size, bytes.

    Raises:
        ValueError: If it is missing, not a regular file, empty or larger.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if status.st_size == 0:  # so are endless system files
        raise ValueError("is empty")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"has {status.st_size} bytes; a file of this kind has at most {limit}")
    return status.st_size


def read_text(path: Path, limit: int = TEXT_LIMIT) -> str:
    """Read a text file of UTF-8, no larger than the limit (bytes)."""
    check_file(path, limit)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)  # an endless file has no size
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise ValueError(f"has more than {limit} bytes; a file of this kind has no more")
    return data.decode()


def read_json(path: Path) -> Any:
    """Read a small JSON file, in which names are unique and numbers finite."""
    return check_plain(parse_json(read_text(path)))


def check_json(data: Any) -> None:
    """Check that `read_json` accepts a model's description, once it is written as indented JSON.

    Raises:
        ValueError: If it is too large, or holds text that cannot be printed.
    """
    size = len(json.dumps(data, indent=2))
    if size > _MODEL_LIMIT:
        raise ValueError(f"its description has {size} bytes; the limit is {_MODEL_LIMIT}: name fewer categories")
    check_plain(data)


def check_plain(value: Any) -> Any:
    """Copy and check plain data: text, numbers, tensor plans, and lists, tuples and dicts of these.

    Raises:
        ValueError: If it holds anything else, text with control characters, or too many values.
    """
    left = VALUES_LIMIT

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEPTH_LIMIT:
            raise ValueError(f"holds more than {VALUES_LIMIT} values, or lists within lists {_DEPTH_LIMIT} deep")
        if isinstance(value, str):
            return check_name(value)
        if value is None or isinstance(value, bool | float | TensorPlan):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        if isinstance(value, dict):
            return {_key(key): copy(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(copy(item, depth + 1) for item in value)
        raise ValueError(f"holds {'a number of more than 64 bits' if isinstance(value, int) else type(value).__name__}")

    def _key(key: Any) -> Any:
        if not isinstance(key, str | int):
            raise ValueError(f"holds a name that is {type(key).__name__}")
        return copy(key, 0)

    return copy(value, 0)


def check_name(name: str) -> str:
    """Raise ValueError if a text is very long or has control characters."""
    if len(name) > _NAME_LIMIT or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError(f"holds the name {name[:40]!a}, which is too long or holds control characters")
    return name


def parse_json(text: str) -> Any:
    """Parse JSON in which names stand once and numbers are finite."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("it has a name twice")
    return result


def _no_number(constant: str) -> Any:
    raise ValueError(f"it holds {constant}; numbers must be finite")
