"""Kinds of values: which ones a setting or an argument may have, and how that is said to a user."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """What a value may be; `str` of it completes the sentence "it must be ..."."""

    def allows(self, value: Any) -> bool:
        """Whether a plain value (a number, of Python or NumPy, a string, list, dict or None) is one of these."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number from low to high.

    Attributes:
        low: The lowest.
        high: The highest.
        step: 2 allows only every second one, so that they are even or odd, as low is.
    """

    low: int
    high: int
    step: int = 1

    def allows(self, value: Any) -> bool:
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
    above: bool = False
    below: bool = False
    such: float | None = None

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            return False
        number: Any = value
        over = self.low < number if self.above else self.low <= number
        return over and (number < self.high if self.below else number <= self.high)

    def __str__(self) -> str:
        low = f"a number {'above' if self.above else 'of at least'} {self.low:g}"
        high = f"{'below' if self.below else 'at most'} {self.high:g}"
        return f"{low} and {high}" + ("" if self.such is None else f", such as {self.such:g}")


@dataclass(frozen=True)
class Word:
    """One of a list of words, or of what else is listed: null, true, a number.

    Attributes:
        options: All of them.
        why: Why there are no others, if that is not plain.
    """

    options: tuple[Any, ...]
    why: str = ""

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        return any(type(value) is type(option) and value == option for option in self.options)

    def __str__(self) -> str:
        *others, last = (option if isinstance(option, str) else shown(option) for option in self.options)
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

    def allows(self, value: Any) -> bool:
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

    kind: Kind
    low: int
    high: int
    such: str

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and self.low <= len(value) <= self.high and all(map(self.kind.allows, value))

    def __str__(self) -> str:
        many = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"a list of {many}, such as {self.such}, of which each is {self.kind}"


@dataclass(frozen=True)
class Table:
    """Values by name."""

    such: str

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, dict)

    def __str__(self) -> str:
        return f"values by name, such as {self.such}"


@dataclass(frozen=True)
class Maker:
    """A class to be called later, as Hydra writes it."""

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, dict) and isinstance(value.get("_target_"), str) and value.get("_partial_") is True

    def __str__(self) -> str:
        return "a class of your own, such as {_target_: mymodule.Layer, _partial_: true}"


@dataclass(frozen=True)
class Either:
    """One kind or another."""

    kinds: tuple[Kind, ...]

    def allows(self, value: Any) -> bool:
        """See `Kind`."""
        return any(kind.allows(value) for kind in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


FLAG = Word((True, False))
NULL = Word((None,))


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can be
        return False


def or_null(*kinds: Kind) -> Either:
    """One of the kinds, or null."""
    return Either((*kinds, NULL))


def shown(value: Any) -> str:
    """A value as it is written in a config, in one line that is not long.

    >>> shown(None), shown(True), shown("abc"), shown(0.5)
    ('null', 'true', "'abc'", '0.5')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
