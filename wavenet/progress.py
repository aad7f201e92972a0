"""Progress bars: a widget in a notebook, a line of text on standard error elsewhere."""

import sys
import warnings

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # of a notebook without ipywidgets, which gets text
    from tqdm.auto import tqdm as Bar

__all__ = ["IS_WIDGET", "Bar", "print_above", "seconds_between_updates"]

IS_WIDGET = any(base.__module__ == "tqdm.notebook" for base in Bar.__mro__)


def seconds_between_updates() -> float:
    """Return how often a bar that runs for minutes is drawn: rarely if standard error is a file."""
    return 0.5 if IS_WIDGET or sys.stderr.isatty() else 10


def print_above(line: str) -> None:
    """Print a line above the bar; below it in a notebook, which would show standard error as a fault."""
    if IS_WIDGET:
        print(line, flush=True)  # noqa: T201
    else:
        Bar.write(line, file=sys.stderr)
