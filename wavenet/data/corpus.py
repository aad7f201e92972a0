"""Prepared corpus: utterances at one rate, in files of their own (`Prepared`) or in shards (`wavenet.data.shards`)."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavenet.audio import Features
from wavenet.data.columns import NONE, Columns, columns_of
from wavenet.data.dataset import DatasetError, Skipped
from wavenet.data.origin import Origin


class PreparedUtterance(Protocol):
    """One utterance of a prepared corpus.

    Attributes:
        id: Its id in the dataset.
        num_samples: Length in samples at the corpus's rate.
        conditions: Named conditions, such as the speaker.
        held_out: Whether the dataset's published lists hold it out; None if it has none.
    """

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def num_samples(self) -> int: ...  # noqa: D102
    @property
    def conditions(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def held_out(self) -> bool | None: ...  # noqa: D102

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read samples [start, stop), which are within the utterance: float32 in [-1, 1]."""
        ...

    def frames(self, features: Features, first: int, last: int) -> np.ndarray:
        """Read frames [first, last) of a feature, as far as it has them: (num_channels, frames) float32."""
        ...


class IndexedUtterances(Sequence[PreparedUtterance], ABC):
    """Utterances that are columns of an index, and become objects one by one.

    Attributes:
        columns: Their columns.
        digest: Of the whole corpus that the index is of.
    """

    columns: Columns
    digest: str

    @property
    def is_remote(self) -> bool:
        """Whether they are read from another machine, so that it pays to say in advance which will be needed."""
        return False

    def prefetch(self, ranges: Iterable[tuple[int, int, int]], features: Sequence[Features]) -> None:
        """Begin to read what will be needed; only of use where `is_remote`.

        Args:
            ranges: Of each utterance: its number, the first sample, and one past the last.
            features: Their frames are needed, too.
        """

    @abstractmethod
    def select(self, numbers: np.ndarray) -> "IndexedUtterances":
        """Return some of them, in the order given."""

    @abstractmethod
    def check_features(self, features: Sequence[Features]) -> None:
        """Check that they were prepared with these features.

        Raises:
            DatasetError: If not; names the features, and the command that prepares them.
        """


@dataclass(frozen=True)
class Prepared:
    """One utterance, in a plain WAV file.

    Attributes:
        id: Its id in the dataset.
        path: Its prepared WAV file.
        source: The original recording.
        num_samples: Length in samples at the corpus's rate.
        source_seconds: Length of the recording before trimming, seconds.
        conditions: Named conditions, such as the speaker.
        feature_files: The file of each of the corpus's features, by name.
        held_out: Whether the dataset's published lists hold it out; None if it has none.
    """

    id: str
    path: Path
    source: Path
    num_samples: int
    source_seconds: float
    conditions: dict[str, str]
    feature_files: dict[str, Path] = field(default_factory=dict)
    held_out: bool | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read samples [start, stop); no others are read from disk.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        try:
            samples, _ = soundfile.read(self.path, start=start, stop=stop, dtype="float32")
        except (soundfile.SoundFileError, OSError) as error:
            raise _unreadable(self.path, error) from error
        if len(samples) != stop - start:
            raise _unreadable(self.path, "truncated")
        return samples

    def frames(self, features: Features, first: int, last: int) -> np.ndarray:
        """Read frames [first, last) of a feature; no others are read from disk.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        path = self.feature_files[features.name]
        try:
            stored = np.load(path, mmap_mode="r")
            if stored.shape[0] != features.num_channels or stored.dtype != np.float32:
                raise ValueError("another shape or dtype")
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(path, error) from error
        return np.array(stored[:, first:last], order="C")


@dataclass(frozen=True)
class Corpus:
    """Prepared utterances.

    Attributes:
        name: The dataset's name.
        sample_rate: Hz.
        utterances: Sorted by id; a list of `Prepared`, or `IndexedUtterances`.
        skipped: Recordings that were left out, and why.
        features: The features that `add_features` computed for every utterance.
        folder: The cache's folder, which is locked by writers; None if the corpus was not prepared.
        origin: The recordings' licences.
    """

    name: str
    sample_rate: int
    utterances: Sequence[PreparedUtterance]
    skipped: list[Skipped]
    features: tuple[Features, ...] = ()
    folder: Path | None = None
    origin: Origin = field(default_factory=Origin)

    @cached_property
    def columns(self) -> Columns:
        """The utterances' columns."""
        if isinstance(self.utterances, IndexedUtterances):
            return self.utterances.columns
        return columns_of(self.utterances)

    def select(self, numbers: np.ndarray) -> "Corpus":
        """Return the corpus of some of its utterances, in the order given."""
        if isinstance(self.utterances, IndexedUtterances):
            return replace(self, utterances=self.utterances.select(numbers))
        return replace(self, utterances=[self.utterances[number] for number in numbers])

    @property
    def is_remote(self) -> bool:
        """Whether its utterances are read from another machine."""
        return isinstance(self.utterances, IndexedUtterances) and self.utterances.is_remote

    def prefetch(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Begin to read samples that will be needed and their features, if that is of use.

        Args:
            ranges: Of each utterance: its number, the first sample, and one past the last.
        """
        if isinstance(self.utterances, IndexedUtterances) and self.utterances.is_remote:
            self.utterances.prefetch(ranges, self.features)

    @property
    def seconds(self) -> float:
        """Duration of the audio in the corpus, seconds."""
        return self.columns.samples / self.sample_rate

    @property
    def trimmed_share(self) -> float:
        """Fraction of the recordings' duration that was cut as silence, 0 to 1."""
        before = float(self.columns.source_seconds.sum())
        return max(0.0, 1 - self.seconds / before) if before else 0.0

    def values(self, condition: str) -> list[str]:
        """Return all values of a condition, sorted.

        Raises:
            DatasetError: If an utterance lacks it.
        """
        values = self.columns.by(condition)
        lacking = np.flatnonzero(values.codes == NONE)
        if len(lacking):
            utterance = self.utterances[int(lacking[0])]
            known = ", ".join(utterance.conditions) or "no conditions"
            raise DatasetError(
                f"dataset '{self.name}' has no {condition} for {utterance.id}; it has {known}; add it for all "
                "recordings, or leave this condition out"
            )
        return values.present()

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Read samples [start, stop) of an utterance; no others are read from disk.

        Args:
            index: The utterance's number.
            start: First sample.
            stop: One past the last sample; None for the end.

        Returns:
            (stop - start,) in [-1, 1], float32.

        Raises:
            DatasetError: If its prepared file is missing or damaged.
        """
        utterance = self.utterances[index]
        within = range(utterance.num_samples)[start:stop]
        return torch.from_numpy(utterance.read(within.start, within.stop))

    def conditions(self, index: int, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """Return the conditions of samples [start, stop) of an utterance.

        Args:
            index: The utterance's number.
            start: First sample; a multiple of every feature's hop_length.
            stop: One past the last sample; may lie beyond the utterance's end. None is the utterance's end.

        Returns:
            The utterance's named conditions; and, under the name of each feature, its frames
            (num_channels, ceil((stop - start) / hop_length)), float32; no other frames are read
            from disk. Frames beyond the utterance repeat its last one.

        Raises:
            ValueError: If no frame of a feature begins at start, or the range is empty.
            DatasetError: If a feature's file is missing or damaged.
        """
        utterance = self.utterances[index]
        stop = utterance.num_samples if stop is None else stop
        return {**utterance.conditions, **{f.name: _frames(utterance, f, start, stop) for f in self.features}}


def _frames(utterance: PreparedUtterance, features: Features, start: int, stop: int) -> Tensor:
    if start < 0 or start % features.hop_length or stop <= start:
        raise ValueError(
            f"conditions: samples [{start}, {stop}) are requested; they must begin on a multiple of "
            f"{features.hop_length}, the hop_length of '{features.name}', and end later"
        )
    first, count = start // features.hop_length, features.num_frames(stop - start)
    first_stored = min(first, features.num_frames(utterance.num_samples) - 1)
    frames = torch.from_numpy(utterance.frames(features, first_stored, first + count))
    missing = count - frames.shape[1]
    return torch.cat([frames, frames[:, -1:].expand(-1, missing)], dim=1) if missing else frames


def _unreadable(path: Path, reason: object) -> DatasetError:
    """Return the error for a prepared file that became missing or damaged after preparation."""
    if not path.exists():
        return DatasetError(f"{path}: the prepared file is gone; check that its disk is mounted, and start again")
    return DatasetError(
        f"{path}: the prepared file is damaged ({reason}); delete it and start again: it is prepared again"
    )
