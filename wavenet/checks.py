"""Checks of numeric arguments, so that a wrong one fails where it is passed."""

import math
import numbers
import os
from typing import Any


def check_positive_int(owner: str, **values: int) -> None:
    """Check that every named value is an int of at least 1.

    Args:
        owner: The class or function that takes the arguments; the message begins with it.
        **values: The arguments by name.

    Raises:
        ValueError: Names the argument, its value and the allowed values.

    >>> check_positive_int("CausalConv1d", dilation=0)
    Traceback (most recent call last):
    ValueError: CausalConv1d: dilation is 0; it must be a whole number of at least 1
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}: {name} is {value!r}; it must be a whole number of at least 1")


def is_whole(value: Any) -> bool:
    """Return whether a value is a Python or NumPy integer; booleans do not count."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite Python or NumPy number; booleans do not count."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def memory_of_this_machine() -> float:
    """Return the size of main memory in bytes; infinity where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
