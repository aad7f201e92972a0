"""Interface of datasets, and the records that they return."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from wavenet.audio import looks_like_audio
from wavenet.data.origin import Origin
from wavenet.names import normalise, one_line

if TYPE_CHECKING:
    from wavenet.data.corpus import Corpus


class DatasetError(ValueError):
    """Error of a corpus that cannot be used; the message names the place and the fix."""


@dataclass(frozen=True)
class Utterance:
    """One recording.

    Attributes:
        id: Unique and stable within the dataset, such as "p225/p225_001"; the split depends on it.
        path: The audio file.
        conditions: Its named conditions, such as {"speaker": "p225"}; the values are normalised (`wavenet.names`).
        held_out: Whether the dataset's published lists hold it out; None if it has none, so that `split` chooses.
            A dataset states it for all of its utterances or for none.
        stretch: Whether the recording is scaled so that its range is -1 to 1 (`wavenet.audio.stretched`).
    """

    id: str
    path: Path
    conditions: dict[str, str]
    held_out: bool | None = None
    stretch: bool = False

    def __post_init__(self) -> None:
        normalised = {name: normalise(value) for name, value in self.conditions.items()}
        object.__setattr__(self, "conditions", normalised)


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why; its `str` is always one line.

    Attributes:
        name: Name of the recording, folder or other item.
        reason: Why it cannot be used.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.reason}")


@dataclass(frozen=True)
class Scan:
    """Result of a dataset's `scan`.

    Attributes:
        utterances: The usable recordings, in any order.
        skipped: What was found and left out.
        origin: The recordings' licences; optional, without it a model's card states that they are unknown.
    """

    utterances: list[Utterance]
    skipped: list[Skipped] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)


class Dataset(Protocol):
    """A corpus whose recordings can be found: the interface that a new dataset implements."""

    @property
    def name(self) -> str:
        """Short name without spaces; part of the cache folder's name."""
        ...

    def scan(self) -> Scan:
        """Find all recordings, after downloading them if the dataset is configured to.

        Raises:
            DatasetError: If the corpus is missing; names the command that downloads it.
        """
        ...


@runtime_checkable
class PreparedDataset(Dataset, Protocol):
    """A corpus that is prepared already, so that it is opened instead."""

    def open(self, sample_rate: int, cache_dir: Path, trim_db: float | None, min_seconds: float) -> "Corpus":
        """Open it.

        Args:
            sample_rate: The rate that is needed, Hz.
            cache_dir: A folder for copies of what lies elsewhere.
            trim_db: The trimming that is needed; None: whatever it was prepared with.
            min_seconds: Shorter recordings are not wanted.

        Raises:
            DatasetError: If it cannot be opened, or was prepared otherwise.
        """
        ...


def why_missing(path: Path) -> str | None:
    """Return why there is no file at a path; None if there is one."""
    try:
        return None if path.is_file() else "there is no such file"
    except OSError as error:
        return error.strerror


def download(corpus: Callable[..., object], root: Path) -> None:
    """Download a corpus into root through its torchaudio dataset, which verifies the checksum.

    Raises:
        DatasetError: If the corpus cannot be downloaded, or the download is damaged.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        corpus(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"{root}: the download failed ({error}); run the same command again") from error


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files directly in a folder, by name or content, sorted; hidden files are ignored."""
    return sorted(filter(looks_like_audio, folder.iterdir()))


def sub_folders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted; hidden folders are ignored."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
