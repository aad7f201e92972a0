"""What every dataset yields."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import soundfile

from wavenet.data.origin import Origin

_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".opus", ".oga"}
AUDIO_SUFFIXES = frozenset(_SUFFIXES - {".raw", ".mat", ".mat4", ".mat5", ".txt"})


class DatasetError(ValueError):
    """A corpus that cannot be used; the message names the place and what to do."""


@dataclass(frozen=True)
class Utterance:
    """One recording.

    Attributes:
        id: Unique and stable within the dataset, such as "p225/p225_001"; the split depends on it.
        path: The audio file.
        conditions: What is known about it by name, such as {"speaker": "p225"}.
    """

    id: str
    path: Path
    conditions: dict[str, str]


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why; as text it is one line, whatever the name.

    Attributes:
        name: Of the recording, or of what else it is.
        reason: Why it cannot be used.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.reason}")


@dataclass(frozen=True)
class Scan:
    """What a dataset found.

    Attributes:
        utterances: What can be used, in any order.
        skipped: What was found and left out.
        origin: The recordings' licences; may be left out, and a model's card will say that they are not known.
    """

    utterances: list[Utterance]
    skipped: list[Skipped] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)


class Dataset(Protocol):
    """Finds the recordings of a corpus: all that a new dataset has to implement."""

    @property
    def name(self) -> str:
        """Short, without spaces; names the cache's folder."""
        ...

    def scan(self) -> Scan:
        """Find all recordings; downloads first if asked to.

        Raises:
            DatasetError: If the corpus is not there; says the command that gets it.
        """
        ...


def one_line(text: str) -> str:
    r"""Text in which control characters, such as a file name's newline, and bytes that are no Unicode are escaped.

    >>> print(one_line("Zoë\n\udcff.wav"))
    Zoë\n\udcff.wav
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda match: repr(match[0])[1:-1], text)


def why_missing(path: Path) -> str | None:
    """Why there is no file where a table says so; None if there is one."""
    try:
        return None if path.is_file() else "there is no such file"
    except OSError as error:
        return error.strerror


def download(corpus: Callable[..., object], root: Path) -> None:
    """Let a torchaudio dataset fetch its corpus into root; it checks the checksum.

    Raises:
        DatasetError: If the corpus cannot be fetched or what came is damaged.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        corpus(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"{root}: the download failed ({error}); run the same command again") from error


def audio_files(folder: Path) -> list[Path]:
    """The audio files right in a folder, by their endings, sorted; hidden ones are not looked at."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )


def sub_folders(folder: Path) -> list[Path]:
    """The folders right in a folder, sorted; hidden ones are not looked at."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
