"""Prepared corpus: one plain WAV file for each utterance, all at one rate, and a table of them."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavenet.audio import Features
from wavenet.data.dataset import DatasetError, Skipped
from wavenet.data.origin import Origin


@dataclass(frozen=True)
class Prepared:
    """One utterance of a prepared corpus.

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


@dataclass(frozen=True)
class Corpus:
    """Prepared utterances.

    Attributes:
        name: The dataset's name.
        sample_rate: Hz.
        utterances: Sorted by id.
        skipped: Recordings that were left out, and why.
        features: The features that `add_features` computed for every utterance.
        folder: The cache's folder, which is locked by writers; None if the corpus was not prepared.
        origin: The recordings' licences.
    """

    name: str
    sample_rate: int
    utterances: list[Prepared]
    skipped: list[Skipped]
    features: tuple[Features, ...] = ()
    folder: Path | None = None
    origin: Origin = field(default_factory=Origin)

    @property
    def seconds(self) -> float:
        """Duration of the audio in the corpus, seconds."""
        return sum(u.num_samples for u in self.utterances) / self.sample_rate

    @property
    def trimmed_share(self) -> float:
        """Fraction of the recordings' duration that was cut as silence, 0 to 1."""
        before = sum(u.source_seconds for u in self.utterances)
        return max(0.0, 1 - self.seconds / before) if before else 0.0

    def values(self, condition: str) -> list[str]:
        """Return all values of a condition, sorted.

        Raises:
            DatasetError: If an utterance lacks it.
        """
        for utterance in self.utterances:
            if condition not in utterance.conditions:
                known = ", ".join(utterance.conditions) or "no conditions"
                raise DatasetError(f"dataset '{self.name}' has no {condition} for {utterance.id}; it has {known}")
        return sorted({u.conditions[condition] for u in self.utterances})

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
        try:
            samples, _ = soundfile.read(utterance.path, start=start, stop=stop, dtype="float32")
        except (soundfile.SoundFileError, OSError) as error:
            raise _unreadable(utterance.path, error) from error
        if len(samples) != len(range(utterance.num_samples)[start:stop]):
            raise _unreadable(utterance.path, "truncated")
        return torch.from_numpy(samples)

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
        frames = {f.name: _frames(utterance.feature_files[f.name], f, start, stop) for f in self.features}
        return {**utterance.conditions, **frames}


def split(corpus: Corpus, validation_fraction: float) -> tuple[Corpus, Corpus]:
    """Hold out utterances for validation: those of the dataset's published lists, or else some of every speaker.

    Without published lists the choice depends only on the utterances' ids, not on a seed or the machine. The given
    fraction of each speaker's utterances is held out, at least one if there are two; below 1, one is left to train on.

    Args:
        corpus: All utterances.
        validation_fraction: From 0 to 1; 0 validates on nothing, 1 holds out all, for an evaluation. Published lists
            are used whole whatever the fraction is, and what they hold out is not trained on even if it is 0.

    Returns:
        The training corpus, sorted by id; and the validation corpus, in a fixed shuffled order, so that
        its first utterances are representative of the whole.

    Raises:
        DatasetError: If the fraction is out of range, no utterances would be held out, or the dataset states for some
            of its utterances only whether they are held out.
    """
    if not 0 <= validation_fraction <= 1:
        raise DatasetError(f"validation_fraction is {validation_fraction}; it must be from 0 to 1")
    unlisted = sum(utterance.held_out is None for utterance in corpus.utterances)
    if unlisted == len(corpus.utterances):
        ids = _chosen(corpus, validation_fraction)
    elif unlisted:
        raise DatasetError(
            f"dataset '{corpus.name}': held_out is None for {unlisted} of {len(corpus.utterances)} utterances; its "
            "scan() must state it for all of them or for none"
        )
    else:
        ids = {utterance.id for utterance in corpus.utterances if utterance.held_out}
        if validation_fraction and not ids:
            raise DatasetError(
                f"dataset '{corpus.name}': none of {len(corpus.utterances)} utterances is in its list of held-out "
                "ones; add their recordings, or set validation_fraction=0"
            )
    train = [utterance for utterance in corpus.utterances if utterance.id not in ids]
    held = [utterance for utterance in corpus.utterances if utterance.id in ids] if validation_fraction else []
    return (
        replace(corpus, utterances=train),
        replace(corpus, utterances=sorted(held, key=_id_hash), skipped=[]),
    )


def _chosen(corpus: Corpus, validation_fraction: float) -> set[str]:
    """Return the ids of a fraction of each speaker's utterances."""
    if validation_fraction == 1:
        return {utterance.id for utterance in corpus.utterances}
    speakers: dict[str, list[Prepared]] = {}
    for utterance in corpus.utterances:
        speakers.setdefault(utterance.conditions.get("speaker", ""), []).append(utterance)
    held: list[Prepared] = []
    for spoken in speakers.values():
        count = max(1, round(validation_fraction * len(spoken))) if validation_fraction and len(spoken) > 1 else 0
        held += sorted(spoken, key=_id_hash)[: min(count, len(spoken) - 1)]
    if validation_fraction and not held:
        raise DatasetError(
            f"dataset '{corpus.name}': {len(corpus.utterances)} utterance(s) of {len(speakers)} speaker(s) leave none "
            "to validate on; cut the recording into two or more files, or set validation_fraction=0"
        )
    return {utterance.id for utterance in held}


def _frames(path: Path, features: Features, start: int, stop: int) -> Tensor:
    if start < 0 or start % features.hop_length or stop <= start:
        raise ValueError(
            f"conditions: samples [{start}, {stop}) are requested; they must begin on a multiple of "
            f"{features.hop_length}, the hop_length of '{features.name}', and end later"
        )
    first, count = start // features.hop_length, features.num_frames(stop - start)
    try:
        stored = np.load(path, mmap_mode="r")
        if stored.shape[0] != features.num_channels or stored.dtype != np.float32:
            raise ValueError("another shape or dtype")
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    first_stored = min(first, stored.shape[1] - 1)
    frames = torch.from_numpy(np.array(stored[:, first_stored : first + count], order="C"))
    missing = count - frames.shape[1]
    return torch.cat([frames, frames[:, -1:].expand(-1, missing)], dim=1) if missing else frames


def _unreadable(path: Path, reason: object) -> DatasetError:
    """Return the error for a prepared file that became missing or damaged after preparation."""
    if not path.exists():
        return DatasetError(f"{path}: the prepared file is gone; check that its disk is mounted, and start again")
    return DatasetError(
        f"{path}: the prepared file is damaged ({reason}); delete it and start again: it is prepared again"
    )


def _id_hash(utterance: Prepared) -> str:
    return hashlib.sha256(utterance.id.encode(errors="surrogatepass")).hexdigest()
