"""Checks of constructor numbers, so that a wrong one fails where it was written."""


def check_positive_int(owner: str, **values: int) -> None:
    """Raise unless every named value is an int of at least 1.

    Args:
        owner: The class or function whose arguments these are; the message begins with it.
        **values: The arguments by name.

    Raises:
        ValueError: Names the argument, the value it had and what would be right.

    >>> check_positive_int("CausalConv1d", dilation=0)
    Traceback (most recent call last):
    ValueError: CausalConv1d: dilation is 0; it must be a whole number of at least 1
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}: {name} is {value!r}; it must be a whole number of at least 1")
