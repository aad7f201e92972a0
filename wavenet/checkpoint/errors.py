"""How a checkpoint is refused: in one line, whatever a stranger wrote into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REASON_LENGTH = 140  # characters
_FIX = "; use another checkpoint, or fetch this one again"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


class UntrustedError(ValueError):
    """A class that is not this package's, in a module that nobody said to trust.

    Args:
        target: The class's full name.
        module: The module, or the package that it is in.
    """

    def __init__(self, target: str, module: str) -> None:
        super().__init__(
            f"_target_ '{target:.80}' is not one of this package's own classes; refused, for code in {module:.40} "
            f'would be run; if you trust it, say trust=["{module:.40}"], on the command line trust=[{module:.40}]'
        )


@contextmanager
def refusing(path: Path, what: str = "", fix: str = _FIX) -> Iterator[None]:
    """Make one line of whatever goes wrong with a stranger's file, which may be made to mislead its readers.

    Args:
        path: The file.
        what: What it is not.
        fix: What to do about it.

    Raises:
        CheckpointError: If anything is raised; it may quote what the stranger wrote, printable and shortened.
    """
    try:
        yield
    except UntrustedError as error:  # has nothing of the stranger's but names
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
            reason = f"it is damaged, or not what it says ({type(error).__name__}: {reason})"
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        reason = reason if len(reason) <= _REASON_LENGTH else f"{reason[:_REASON_LENGTH]} ..."
        raise CheckpointError(f"{path}: {f'{what} ({reason})' if what else reason}{fix}") from error
