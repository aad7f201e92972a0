"""Errors about checkpoints: one line each, whatever the file contains."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REASON_LENGTH = 140  # characters
_FIX = "; use another checkpoint, or fetch this one again"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason.

    Args:
        reason: The file and the reason.
        fix: What the user can do, the end of the message.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}{fix}")
        self.reason = reason


class UntrustedError(ValueError):
    """A file names a class of another package, in a module that the caller does not trust.

    Args:
        target: The class's full name.
        module: The module, or the package that it is in.
    """

    def __init__(self, target: str, module: str) -> None:
        super().__init__(
            f"_target_ '{target:.80}' is not one of this package's own classes; refused, because code in "
            f'{module:.40} would be run; if you trust it, use trust=["{module:.40}"], or trust=[{module:.40}] on the '
            "command line"
        )


@contextmanager
def refusing(path: Path, what: str = "", fix: str = _FIX) -> Iterator[None]:
    """Turn any error about an untrusted file into one line, which cannot mislead whoever reads it.

    Args:
        path: The file.
        what: What the file turns out not to be, such as "not readable as WAV"; put before the reason.
        fix: What the user can do, appended to the message.

    Raises:
        CheckpointError: If anything is raised inside; quotes from the file are made printable and shortened.
    """
    try:
        yield
    except UntrustedError as error:  # quotes nothing of the file but checked names
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
            reason = f"it is damaged or of another format ({type(error).__name__}: {reason})"
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        reason = reason if len(reason) <= _REASON_LENGTH else f"{reason[:_REASON_LENGTH]} ..."
        raise CheckpointError(f"{path}: {f'{what} ({reason})' if what else reason}", fix) from error
