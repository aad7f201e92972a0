"""Kinds of values: which ones a setting or an argument may have, and how that is said to a user."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class ValueType(Protocol):
    """What a value may be; `str` of it completes the sentence "it must be ..."."""

    def accepts(self, value: Any) -> bool:
        """Whether a plain value (a number, of Python or NumPy, a string, list, dict or None) is one of these."""
        ...


@dataclass(frozen=True)
class Integer:
    """A whole number from low to high.

    Attributes:
        low: The lowest.
        high: The highest.
        step: 2 allows only every second one, so that they are even or odd, as low is.
    """

    low: int
    high: int
    step: int = 1

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return False
        number = int(value)
        return self.low <= number <= self.high and (number - self.low) % self.step == 0

    def __str__(self) -> str:
        name = "a whole number" if self.step == 1 else "an odd number" if self.low % 2 else "an even number"
        return f"{name} from {self.low} to {self.high}"


@dataclass(frozen=True)
class Real:
    """A number from low to high, never NaN or infinite.

    Attributes:
        low: The lowest.
        high: The highest.
        above: Whether low itself is left out.
        below: Whether high itself is left out.
        such: An example of a sensible value.
    """

    low: float
    high: float
    exclusive_low: bool = False
    exclusive_high: bool = False
    example: float | None = None

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            return False
        number: Any = value
        over = self.low < number if self.exclusive_low else self.low <= number
        return over and (number < self.high if self.exclusive_high else number <= self.high)

    def __str__(self) -> str:
        low = f"a number {'above' if self.exclusive_low else 'of at least'} {self.low:g}"
        high = f"{'below' if self.exclusive_high else 'at most'} {self.high:g}"
        return f"{low} and {high}" + ("" if self.example is None else f", such as {self.example:g}")


@dataclass(frozen=True)
class OneOf:
    """One of a list of words, or of what else is listed: null, true, a number.

    Attributes:
        options: All of them.
        why: Why there are no others, if that is not plain.
    """

    options: tuple[Any, ...]
    why: str = ""

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return any(type(value) is type(option) and value == option for option in self.options)

    def __str__(self) -> str:
        *others, last = (option if isinstance(option, str) else format_value(option) for option in self.options)
        return (f"{', '.join(others)} or {last}" if others else last) + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        what: What it stands for.
        numbers: Whether a whole number will do as well: a speaker may be called 225.
    """

    what: str
    numbers: bool = False

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        if self.numbers and isinstance(value, int) and not isinstance(value, bool):
            return True
        return isinstance(value, str) and bool(value) and "\0" not in value

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class ListOf:
    """A list of values of a kind.

    Attributes:
        kind: Of each.
        low: So many at least.
        high: So many at most.
        such: An example.
    """

    kind: ValueType
    low: int
    high: int
    example: str

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and self.low <= len(value) <= self.high and all(map(self.kind.accepts, value))

    def __str__(self) -> str:
        many = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"a list of {many}, such as {self.example}, of which each is {self.kind}"


@dataclass(frozen=True)
class Dictionary:
    """Values by name."""

    example: str

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, dict)

    def __str__(self) -> str:
        return f"values by name, such as {self.example}"


@dataclass(frozen=True)
class PartialClass:
    """A class to be called later, as Hydra writes it."""

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, dict) and isinstance(value.get("_target_"), str) and value.get("_partial_") is True

    def __str__(self) -> str:
        return "a class of your own, such as {_target_: mymodule.Layer, _partial_: true}"


@dataclass(frozen=True)
class AnyOf:
    """One kind or another."""

    kinds: tuple[ValueType, ...]

    def accepts(self, value: Any) -> bool:
        """See `Kind`."""
        return any(kind.accepts(value) for kind in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


BOOLEAN = OneOf((True, False))
NULL = OneOf((None,))


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can be
        return False


def optional(*kinds: ValueType) -> AnyOf:
    """One of the kinds, or null."""
    return AnyOf((*kinds, NULL))


def format_value(value: Any) -> str:
    """A value as it is written in a config, in one line that is not long.

    >>> shown(None), shown(True), shown("abc"), shown(0.5)
    ('null', 'true', "'abc'", '0.5')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
