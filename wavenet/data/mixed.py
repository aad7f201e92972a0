"""The corpus of a mix: those of its parts, one after the other."""

import bisect
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np

from wavenet.audio import Features
from wavenet.data.columns import NONE, Categories, Columns, id_hash
from wavenet.data.corpus import Corpus, IndexedUtterances, PreparedUtterance
from wavenet.data.dataset import Skipped
from wavenet.data.origin import UNKNOWN, Licence, Origin, each_once


@dataclass(frozen=True)
class Part:
    """A part of a mix.

    Attributes:
        name: Its name.
        corpus: Its utterances, with the ids and names that they have without the mix.
        weight: Its share of the training segments is proportional to this; None: to the length of its audio.
        speakers: What its speakers are called in the mix, where that is not their own name.
    """

    name: str
    corpus: Corpus
    weight: float | None
    speakers: Mapping[str, str]

    def categories(self, condition: str) -> Categories:
        """Return a named condition of its utterances, as it is in the mix."""
        found = self.corpus.columns.by(condition)
        if condition != "speaker":
            return found
        return Categories(found.codes, tuple(self.speakers.get(name, name) for name in found.values))


def join(parts: Sequence[Part]) -> Corpus:
    """Return the corpus of a mix; each utterance's id begins with its part's name.

    Args:
        parts: Its parts, at least one, all with the same rate and features.
    """
    first = parts[0].corpus
    skipped = [Skipped(f"{part.name}/{each.name}", each.reason) for part in parts for each in part.corpus.skipped]
    licences = each_once(licence for part in parts for licence in _licences(part))
    return Corpus(
        f"mix of {', '.join(part.name for part in parts)}",
        first.sample_rate,
        MixedUtterances(parts),
        skipped,
        first.features,
        origin=Origin(licences, first.origin.hub if len(parts) == 1 else None),
    )


def _licences(part: Part) -> tuple[Licence, ...]:
    return part.corpus.origin.licences or (Licence(UNKNOWN, f"the part {part.name}"),)


def parts_of(corpus: Corpus) -> tuple[Part, ...]:
    """Return the parts of a mix's corpus, each with those of its utterances that are in it; none of another corpus."""
    return corpus.utterances.parts if isinstance(corpus.utterances, MixedUtterances) else ()


def shares_of(parts: Sequence[Part]) -> list[float]:
    """Return the share of the training segments that is drawn from each part of a mix, 0 to 1."""
    sizes = [part.corpus.columns.samples if part.weight is None else part.weight for part in parts]
    return [size / (sum(sizes) or 1) for size in sizes]


@dataclass(frozen=True)
class MixedUtterance:
    """An utterance of a part; see `wavenet.data.corpus.PreparedUtterance`.

    Attributes:
        id: The part's name and its id there, such as "mine/take_3.wav".
        conditions: Named conditions, as they are in the mix.
        original: The part's utterance.
    """

    id: str
    conditions: dict[str, str]
    original: PreparedUtterance

    @property
    def num_samples(self) -> int:
        """Length in samples at the corpus's rate."""
        return self.original.num_samples

    @property
    def held_out(self) -> bool | None:
        """Whether the part's published lists hold it out; None if it has none."""
        return self.original.held_out

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read samples [start, stop)."""
        return self.original.read(start, stop)

    def frames(self, features: Features, first: int, last: int) -> np.ndarray:
        """Read frames [first, last) of a feature."""
        return self.original.frames(features, first, last)


class MixedUtterances(IndexedUtterances):
    """The utterances of several corpora.

    Args:
        parts: The parts, in whose order they are.
        order: (U,) their numbers in that order, if they are in another one.

    Attributes:
        parts: The parts.
    """

    def __init__(self, parts: Sequence[Part], order: np.ndarray | None = None) -> None:
        self.parts, self._order = tuple(parts), order
        self._ends = np.cumsum([len(part.corpus.utterances) for part in parts]).tolist()

    @property
    def shuffled(self) -> bool:
        """Whether they are in another order than their parts."""
        return self._order is not None

    @cached_property
    def columns(self) -> Columns:  # type: ignore[override]
        """Their columns."""
        columns = _MixedColumns(self.parts)
        return columns if self._order is None else columns.select(self._order)

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """Of the utterances of all parts, and of their names in the mix."""
        digest = hashlib.sha256()
        for part in self.parts:
            utterances = part.corpus.utterances
            if isinstance(utterances, IndexedUtterances):
                content: object = utterances.digest, len(utterances)
            else:
                content = [(each.id, each.num_samples, each.conditions) for each in utterances]
            digest.update(repr((part.name, sorted(part.speakers.items()), content)).encode())
        return digest.hexdigest()

    @property
    def is_remote(self) -> bool:
        """Whether those of any part are read from another machine."""
        return any(part.corpus.is_remote for part in self.parts)

    def prefetch(self, ranges: Iterable[tuple[int, int, int]], features: Sequence[Features]) -> None:
        """Begin to read what will be needed of parts on other machines; see `IndexedUtterances.prefetch`."""
        of_parts: list[list[tuple[int, int, int]]] = [[] for _ in self.parts]
        for index, start, stop in ranges:
            part, number = self._place(index)
            of_parts[part].append((number, start, stop))
        for part, wanted in zip(self.parts, of_parts, strict=True):
            if isinstance(part.corpus.utterances, IndexedUtterances):
                part.corpus.utterances.prefetch(wanted, features)

    def select(self, numbers: np.ndarray) -> "MixedUtterances":
        """Return some of them, in the order given; the parts then have no others."""
        numbers = numbers if self._order is None else self._order[numbers]
        used, order = np.unique(numbers, return_inverse=True)
        parts, first = [], 0
        for part, end in zip(self.parts, self._ends, strict=True):
            own = used[np.searchsorted(used, first) : np.searchsorted(used, end)] - first
            parts.append(replace(part, corpus=part.corpus.select(own)))
            first = end
        return MixedUtterances(parts, None if np.array_equal(numbers, used) else order)

    def check_features(self, features: Sequence[Features]) -> None:
        """Check that parts in shards were prepared with these features; see `IndexedUtterances.check_features`."""
        for part in self.parts:
            if isinstance(part.corpus.utterances, IndexedUtterances):
                part.corpus.utterances.check_features(features)

    def __len__(self) -> int:
        return self._ends[-1] if self._order is None else len(self._order)

    @overload
    def __getitem__(self, index: int) -> MixedUtterance: ...
    @overload
    def __getitem__(self, index: slice) -> "MixedUtterances": ...
    def __getitem__(self, index: int | slice) -> "MixedUtterance | MixedUtterances":
        """Return one utterance, or those of a slice."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        place, number = self._place(range(len(self))[index])
        part = self.parts[place]
        original = part.corpus.utterances[number]
        conditions = dict(original.conditions)
        if conditions.get("speaker") in part.speakers:
            conditions["speaker"] = part.speakers[conditions["speaker"]]
        return MixedUtterance(f"{part.name}/{original.id}", conditions, original)

    def _place(self, index: int) -> tuple[int, int]:
        """Return the part of an utterance, and its number there."""
        index = index if self._order is None else int(self._order[index])
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "order": self._order}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


class _MixedColumns(Columns):
    """The columns of parts, one after the other; each is copied when it is first needed."""

    _parts: tuple[Part, ...]

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.__dict__.update(_parts=parts, ranks=None)

    @cached_property
    def lengths(self) -> np.ndarray:  # type: ignore[override]
        return np.concatenate([part.corpus.columns.lengths for part in self._parts])

    @cached_property
    def source_seconds(self) -> np.ndarray:  # type: ignore[override]
        return np.concatenate([part.corpus.columns.source_seconds for part in self._parts])

    @cached_property
    def held_out(self) -> np.ndarray:  # type: ignore[override]
        return np.concatenate([part.corpus.columns.held_out for part in self._parts])

    @cached_property
    def hashes(self) -> np.ndarray:  # type: ignore[override]
        """Those of the ids in the parts, combined with the parts' names, as two parts may have the same ids."""
        return np.concatenate([part.corpus.columns.hashes ^ np.uint64(id_hash(part.name)) for part in self._parts])

    @cached_property
    def conditions(self) -> dict[str, Categories]:  # type: ignore[override]
        names = dict.fromkeys(name for part in self._parts for name in part.corpus.columns.conditions)
        return {name: _concatenated([part.categories(name) for part in self._parts]) for name in names}


def _concatenated(parts: Sequence[Categories]) -> Categories:
    """Return a condition of several corpora; values that are equal are one."""
    numbers: dict[str, int] = {}
    codes = []
    for part in parts:
        own = [numbers.setdefault(value, len(numbers)) for value in part.values]
        codes.append(np.array([*own, NONE], np.int32)[part.codes])  # `NONE` is the index of the last one, too
    return Categories(np.concatenate(codes), tuple(numbers))
