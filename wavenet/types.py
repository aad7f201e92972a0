"""Value types: which values a setting or an argument may have, and how messages describe them."""

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class ValueType(Protocol):
    """A set of allowed values; its `str` completes the sentence "it must be ..."."""

    def accepts(self, value: Any) -> bool:
        """Return whether a plain value (a Python or NumPy number, a string, list, dict or None) is allowed."""
        ...


@dataclass(frozen=True)
class Integer:
    """A whole number from low to high.

    Attributes:
        low: Lowest allowed value.
        high: Highest allowed value.
        step: 2 allows only every second number: even ones if low is even, odd ones if it is odd.
    """

    low: int
    high: int
    step: int = 1

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
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
        low: Lower bound.
        high: Upper bound.
        exclusive_low: Whether low itself is excluded.
        exclusive_high: Whether high itself is excluded.
        example: A sensible value, for messages.
    """

    low: float
    high: float
    exclusive_low: bool = False
    exclusive_high: bool = False
    example: float | None = None

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            return False
        number: Any = value
        above = self.low < number if self.exclusive_low else self.low <= number
        return above and (number < self.high if self.exclusive_high else number <= self.high)

    def __str__(self) -> str:
        low = f"a number {'above' if self.exclusive_low else 'of at least'} {self.low:g}"
        high = f"{'below' if self.exclusive_high else 'at most'} {self.high:g}"
        return f"{low} and {high}" + ("" if self.example is None else f", such as {self.example:g}")


@dataclass(frozen=True)
class OneOf:
    """One of a list of options: strings, null, true, false or numbers.

    Attributes:
        options: All options.
        why: Why there are no others, if that is not obvious.
    """

    options: tuple[Any, ...]
    why: str = ""

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return any(type(value) is type(option) and value == option for option in self.options)

    def __str__(self) -> str:
        *others, last = (option if isinstance(option, str) else format_value(option) for option in self.options)
        return (f"{', '.join(others)} or {last}" if others else last) + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        what: What the string is, for messages.
        numbers: Whether a whole number is accepted as well: a speaker may be named 225.
    """

    what: str
    numbers: bool = False

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        if self.numbers and isinstance(value, int) and not isinstance(value, bool):
            return True
        return isinstance(value, str) and bool(value) and "\0" not in value

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class TimeSpan:
    """A length of time, as days:hours:minutes:seconds."""

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return isinstance(value, str) and re.fullmatch(r"\d{1,4}:\d\d:\d\d:\d\d", value, re.ASCII) is not None

    def __str__(self) -> str:
        return "days:hours:minutes:seconds, such as 00:01:30:00"


@dataclass(frozen=True)
class ListOf:
    """A list of values of one type.

    Attributes:
        kind: Type of each value.
        low: Lowest number of values.
        high: Highest number of values.
        example: A list, for messages.
    """

    kind: ValueType
    low: int
    high: int
    example: str

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and self.low <= len(value) <= self.high and all(map(self.kind.accepts, value))

    def __str__(self) -> str:
        many = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"a list of {many}, such as {self.example}, each of them {self.kind}"


@dataclass(frozen=True)
class Dictionary:
    """A dictionary.

    Attributes:
        example: A dictionary, for messages.
    """

    example: str

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return isinstance(value, dict)

    def __str__(self) -> str:
        return f"a dictionary, such as {self.example}"


@dataclass(frozen=True)
class DictionaryOf:
    """A dictionary whose values are of one type.

    Attributes:
        kind: Type of each value.
        example: A dictionary, for messages.
    """

    kind: ValueType
    example: str

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return isinstance(value, Mapping) and all(map(self.kind.accepts, value.values()))

    def __str__(self) -> str:
        return f"a dictionary, such as {self.example}, each value {self.kind}"


@dataclass(frozen=True)
class PartialClass:
    """A class that Hydra instantiates later: a dict with `_target_` and `_partial_: true`."""

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return isinstance(value, dict) and isinstance(value.get("_target_"), str) and value.get("_partial_") is True

    def __str__(self) -> str:
        return "a class of your own, such as {_target_: mymodule.Layer, _partial_: true}"


@dataclass(frozen=True)
class AnyOf:
    """A value of one of several types.

    Attributes:
        kinds: The types.
    """

    kinds: tuple[ValueType, ...]

    def accepts(self, value: Any) -> bool:
        """See `ValueType`."""
        return any(each.accepts(value) for each in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


BOOLEAN = OneOf((True, False))
NULL = OneOf((None,))


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def optional(*kinds: ValueType) -> AnyOf:
    """Return a type that allows values of the given types, and null."""
    return AnyOf((*kinds, NULL))


def format_value(value: Any) -> str:
    """Format a value as it is written in a config, in one short line.

    >>> format_value(None), format_value(True), format_value("abc"), format_value(0.5)
    ('null', 'true', "'abc'", '0.5')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
