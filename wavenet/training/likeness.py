"""Checks that a loaded state has the structure of an expected one."""

from typing import Any

from torch import Tensor


def check_like(place: str, loaded: Any, expected: Any) -> None:
    """Check that a state has the structure of an expected one: its names, types and shapes, and finite numbers.

    Args:
        place: What the state is, for messages.
        loaded: The state.
        expected: One that is known to be right, whose tensors may be on the meta device.

    Raises:
        ValueError: Names the place that differs.
    """
    if isinstance(expected, dict):
        if not isinstance(loaded, dict) or loaded.keys() != expected.keys():
            raise ValueError(f"{place} has other entries than a run saves")
        for name, part in expected.items():
            check_like(f"{place}.{name}", loaded[name], part)
    elif isinstance(expected, list | tuple):
        if not isinstance(loaded, list | tuple) or len(loaded) != len(expected):
            raise ValueError(f"{place} is not a list of {len(expected)}")
        for index, part in enumerate(expected):
            check_like(f"{place}[{index}]", loaded[index], part)
    elif isinstance(expected, Tensor):
        _check_tensor_like(place, loaded, expected)
    elif expected is None or isinstance(expected, bool):
        if loaded is not None and not isinstance(loaded, bool):
            raise ValueError(f"{place} is {loaded!r:.40}; it must be true or false")
    elif isinstance(loaded, bool) or not isinstance(loaded, int if isinstance(expected, int) else int | float):
        raise ValueError(f"{place} is {loaded!r:.40}; it must be a number")
    elif not 0 <= loaded < 2**53:
        raise ValueError(f"{place} is {loaded}; it must be finite, and at least 0")


def _check_tensor_like(place: str, loaded: Any, expected: Tensor) -> None:
    if not isinstance(loaded, Tensor) or loaded.shape != expected.shape:
        raise ValueError(f"{place} is not a tensor of shape {tuple(expected.shape)}")
    if loaded.dtype.is_floating_point != expected.dtype.is_floating_point or not bool(loaded.isfinite().all()):
        raise ValueError(f"{place} holds NaN or infinite numbers, or has another type than a run saves")
