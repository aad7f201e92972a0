"""What is asked of all utterances of a corpus at once, in arrays instead of one object for each."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

NONE = -1  # a condition that an utterance lacks, or lists that a dataset does not have


@dataclass(frozen=True)
class Categories:
    """A named condition of every utterance.

    Attributes:
        codes: (U,) the number of each utterance's value, int32; `NONE` where it has none.
        values: The distinct values, in any order; some may be of no utterance.
    """

    codes: np.ndarray
    values: Sequence[str]

    def value(self, code: int, missing: str) -> str:
        """Return the value of a code; `missing` of `NONE`."""
        return missing if code == NONE else self.values[int(code)]

    def present(self) -> list[str]:
        """Return the values that utterances have, sorted."""
        counts = np.bincount(self.codes[self.codes != NONE], minlength=len(self.values))
        return sorted(self.values[int(code)] for code in np.flatnonzero(counts))


@dataclass(frozen=True)
class Columns:
    """The columns of a corpus's utterances.

    Attributes:
        lengths: (U,) samples, int64.
        source_seconds: (U,) lengths of the recordings before trimming, float64.
        held_out: (U,) whether published lists hold it out: 1, 0, or `NONE` where there are none, int8.
        conditions: By name, those that any utterance has.
        hashes: (U,) of the ids, uint64, `id_hash`; the split depends on nothing else.
        ranks: (U,) place of an utterance among those of its speaker by hash, int32; None: computed when needed.
    """

    lengths: np.ndarray
    source_seconds: np.ndarray
    held_out: np.ndarray
    conditions: dict[str, Categories]
    hashes: np.ndarray
    ranks: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def samples(self) -> int:
        """Samples of all utterances."""
        return int(self.lengths.sum())

    @property
    def num_speakers(self) -> int:
        """Number of speakers; utterances without one count as one more."""
        return len(np.unique(self.by("speaker").codes))

    def by(self, condition: str) -> Categories:
        """Return a condition; it may be one that no utterance has."""
        return self.conditions.get(condition) or Categories(np.full(len(self.lengths), NONE, np.int32), ())

    def chosen(self, fraction: float) -> np.ndarray:
        """Return which utterances a split holds out where no published lists do: (U,) bool.

        The given fraction of each speaker's utterances, those with the smallest hashes; at least one of two or more,
        and below a fraction of 1 not all.
        """
        speakers = self.by("speaker").codes - NONE  # those without a speaker are one more
        counts = np.bincount(speakers)
        wanted = np.minimum(np.maximum(1, np.rint(fraction * counts)), counts - 1) if fraction else 0 * counts
        wanted = wanted.astype(np.int32)  # half the memory of what is drawn from it
        ranks = self._ranked(speakers, counts) if self.ranks is None else self.ranks
        return np.ones(len(ranks), bool) if fraction == 1 else ranks < wanted[speakers]

    def _ranked(self, groups: np.ndarray, counts: np.ndarray) -> np.ndarray:
        order = np.lexsort((self.hashes, groups))
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        return ranks

    def with_ranks(self) -> "Columns":
        """Return the same columns with the ranks computed."""
        speakers = self.by("speaker").codes - NONE
        ranks = self._ranked(speakers, np.bincount(speakers))
        return replace(self, ranks=ranks)

    def select(self, numbers: np.ndarray) -> "Columns":
        """Return the columns of some utterances, in the order given; each is copied when it is first needed."""
        return _Selected(self, numbers)


class _Selected(Columns):
    """Columns of some utterances."""

    _every: Columns
    _numbers: np.ndarray

    def __init__(self, every: Columns, numbers: np.ndarray) -> None:
        self.__dict__.update(_every=every, _numbers=numbers, ranks=None)

    @cached_property
    def lengths(self) -> np.ndarray:  # type: ignore[override]
        return self._every.lengths[self._numbers]

    @cached_property
    def source_seconds(self) -> np.ndarray:  # type: ignore[override]
        return self._every.source_seconds[self._numbers]

    @cached_property
    def held_out(self) -> np.ndarray:  # type: ignore[override]
        return self._every.held_out[self._numbers]

    @cached_property
    def hashes(self) -> np.ndarray:  # type: ignore[override]
        return self._every.hashes[self._numbers]

    @cached_property
    def conditions(self) -> dict[str, Categories]:  # type: ignore[override]
        found = self._every.conditions.items()
        return {name: Categories(each.codes[self._numbers], each.values) for name, each in found}


def columns_of(utterances: Iterable[Any]) -> Columns:
    """Return the columns of utterances that are given as objects, such as a list of `Prepared`."""
    listed = list(utterances)
    conditions = {}
    for name in dict.fromkeys(name for each in listed for name in each.conditions):
        codes = {}
        given = [each.conditions.get(name) for each in listed]
        numbers = [NONE if value is None else codes.setdefault(value, len(codes)) for value in given]
        conditions[name] = Categories(np.array(numbers, np.int32), tuple(codes))
    return Columns(
        np.array([each.num_samples for each in listed], np.int64),
        np.array([each.source_seconds for each in listed], np.float64),
        np.array([NONE if each.held_out is None else each.held_out for each in listed], np.int8),
        conditions,
        np.array([id_hash(each.id) for each in listed], np.uint64),
    )


def id_hash(name: str) -> int:
    """Return the hash of an utterance's id: the first 8 bytes of its SHA-256, as a number."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], "big")
