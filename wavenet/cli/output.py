"""What commands print: errors in one line, and how a program ends whose output cannot be written."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from wavenet.atomic_files import os_error_reason
from wavenet.names import one_line

_SIGPIPE = 13  # Windows has no name for it


@contextmanager
def checked_output(program: str) -> Iterator[None]:
    """End the program, as `check_output` does, if what the block prints cannot be written.

    Characters that the terminal's encoding lacks, such as those of a name, are printed as escapes.

    Args:
        program: Its name, for messages.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except OSError as error:
        check_cause(program, error)
        raise
    finally:
        check_output(program)


def check_cause(program: str, error: OSError) -> None:
    """End the program, as `check_output` does, if an error is that of its output, which is no file with a name."""
    if error.filename is None:
        check_output(program, "\n")  # as nothing else may be left to be written


def check_output(program: str, text: str = "") -> None:
    """Print a text; if the output cannot be written, end the program.

    If nobody reads it any more, such as `head`, it ends as other programs do: without a message, with SIGPIPE's code.
    """
    try:
        print(text, end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + _SIGPIPE)
        end(program, f"standard output: {os_error_reason(error)}")


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """Return the first few of many lines, and one that says how many more there are.

    >>> first_lines(["kept     a", "kept     b", "kept     c"], 1)
    ['kept     a', '           and 2 more']
    """
    more = len(lines) - most
    return [*lines[:most], *[f"           and {more} more"] * (more > 0)]


def end(program: str, reason: str) -> NoReturn:
    """Print why a program ends, and end it with exit code 2."""
    print_error(program, reason)
    sys.exit(2)


def print_error(program: str, reason: str) -> None:
    """Print why a program ends, as one line."""
    with suppress(OSError):  # standard error may be on the same full disk
        print(f"{program}: {one_line(' '.join(reason.split()))}", file=sys.stderr, flush=True)
