"""Stream of training segments: segment i is a pure function of (seed, i)."""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from wavenet.bounds import BatchSize, SegmentLength, checked
from wavenet.checks import check_positive_int
from wavenet.data.columns import NONE
from wavenet.data.corpus import Corpus, PreparedUtterance
from wavenet.data.mixed import MixedUtterances, parts_of

_AHEAD = 64  # segments that are read ahead, if the corpus is on another machine
_GOLDEN = 0x9E3779B97F4A7C15  # the fractional part of the golden ratio, times 2**64
_ZEROS = np.zeros(4, np.uint64)


class TrainingSegments(Dataset):
    """Random training segments, each with as much context as the model's receptive field.

    Segment i is found by drawing one sample of the corpus uniformly and taking the segment_length
    samples around it (moved inward at an utterance's ends, so that the very beginning is trained on as
    well, half as often as the middle). Before the segment come up to context_length further samples of
    the same utterance, which are input but not predicted: no loss is computed on a sample whose
    receptive field is cut off. Where the utterance begins within the context, the zeros that a causal
    convolution puts before it are correct, because generation starts from the same zeros.

    If the corpus is a mix with weights, the sample is drawn from one of its parts. Of any thousand consecutive
    segments, each part has its share, give or take four.

    If the corpus has features, the input begins on a frame of each of them, and if the model has a
    context stack, on a frame of that: up to grid - 1 samples earlier, where grid is the least common
    multiple of the frame lengths. Filters over frames look ahead, so after the segment come up to `margin` further
    samples of the utterance, which are not predicted either.

    Args:
        corpus: The training utterances.
        segment_length: Samples predicted in a segment.
        context_length: Samples of context: the model's receptive field, and how far before it the
            filters over frames look back.
        seed: Seed of the stream.
        margin: Samples after the segment: how far the filters over frames look ahead.
        frame: The input begins at a multiple of this many samples.

    Attributes:
        stride: How many segments lie between the beginnings of two batches that one reader takes after each other; a
            corpus on another machine is read ahead accordingly. 0: not.

    Raises:
        ValueError: If a number is out of range, or a part of the corpus has a weight and no utterances.
    """

    stride = 0

    @checked
    def __init__(
        self,
        corpus: Corpus,
        segment_length: SegmentLength,
        context_length: int,
        seed: int,
        margin: int = 0,
        frame: int = 1,
    ) -> None:
        lengths = {"context_length": context_length, "frame": frame}
        check_positive_int("TrainingSegments", **lengths)
        if isinstance(margin, bool) or not isinstance(margin, int) or margin < 0:
            raise ValueError(f"TrainingSegments: margin is {margin!r}; it must be a whole number of at least 0")
        if parts := parts_of(corpus):
            corpus = replace(corpus, utterances=MixedUtterances(parts))  # one after the other
        self._corpus = corpus
        self._grid = math.lcm(frame, *(features.hop_length for features in corpus.features))
        self._length = -(-(context_length + segment_length + margin + self._grid - 1) // self._grid) * self._grid
        self._margin = margin
        self._shares = _shares_of(corpus)
        self._ends = np.cumsum(corpus.columns.lengths)
        # a batch needs the same conditions of all segments, and a model needs its own of all utterances
        self._incomplete = {name for name, each in corpus.columns.conditions.items() if (each.codes == NONE).any()}
        self._random = np.random.Philox()
        self._began = False
        self._segment_length = segment_length
        self._context_length = context_length
        self._seed = seed

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Return the segments of a batch, and begin to read those of the batches after it."""
        if self._corpus.is_remote:
            first, ahead = not self._began, max(1, -(-_AHEAD // len(indices))) if self.stride else 0
            self._began = True
            for batch in range(0 if first else ahead, ahead + 1):
                self._corpus.prefetch(self._input(index + batch * self.stride)[:3] for index in indices)
        return [self[index] for index in indices]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return segment `index`.

        Returns:
            "waveform": (T,) input samples, followed by zeros. T is the same for all segments:
            context_length + segment_length + margin + grid - 1, rounded up to a multiple of grid;
            "predicted": (T,) True where the loss is computed;
            "dropout_uniform": a random number in [0, 1) for the dropout of conditions;
            "segment": its number;
            "conditions": the named conditions that all utterances of the corpus have, and
            (num_channels, T / hop_length) frames of each feature; frames beyond the utterance repeat its last one.
        """
        number, first_input, end_input, start, stop, random_bits = self._input(index)
        waveform = torch.zeros(self._length)
        waveform[: end_input - first_input] = self._corpus.read(number, first_input, end_input)
        predicted = torch.zeros(self._length, dtype=torch.bool)
        predicted[start - first_input : stop - first_input] = True
        conditions = self._corpus.conditions(number, first_input, first_input + self._length)
        conditions = {name: value for name, value in conditions.items() if name not in self._incomplete}
        dropout_uniform = torch.tensor((random_bits >> 40) * 2.0**-24)
        return {
            "waveform": waveform,
            "predicted": predicted,
            "dropout_uniform": dropout_uniform,
            "segment": index,
            "conditions": conditions,
        }

    def locate(self, index: int) -> tuple[PreparedUtterance, int, int]:
        """Return segment `index`'s utterance, its first predicted sample, and one past the last."""
        number, start, stop, _ = self._place(index)
        return self._corpus.utterances[number], start, stop

    def describe(self, index: int) -> str:
        """Return the position of segment `index` for messages: its recording, and seconds in the prepared audio."""
        (utterance, start, stop), rate = self.locate(index), self._corpus.sample_rate
        return f"segment {index} ({utterance.id}, {start / rate:.3f} to {stop / rate:.3f} s)"

    def _input(self, index: int) -> tuple[int, int, int, int, int, int]:
        """Return segment `index`'s utterance number, its input's first sample and one past the last; see `_place`."""
        number, start, stop, random_bits = self._place(index)
        first_input = max(0, start - self._context_length) // self._grid * self._grid
        end_input = min(stop + self._margin, self._num_samples(number))
        return number, first_input, end_input, start, stop, random_bits

    def _place(self, index: int) -> tuple[int, int, int, int]:
        """Return segment `index`'s utterance number, first sample, one past the last, and another random integer."""
        self._random.state = {  # as of np.random.Philox(key=[seed, index]), in a quarter of the time
            "bit_generator": "Philox",
            "state": {"counter": _ZEROS, "key": np.array([self._seed, index], np.uint64)},
            "buffer": _ZEROS,
            "buffer_pos": len(_ZEROS),
            "has_uint32": 0,
            "uinteger": 0,
        }
        position_bits, random_bits = (int(number) for number in self._random.random_raw(2))
        position = self._shares.position(index, position_bits)
        number = int(self._ends.searchsorted(position, side="right"))
        num_samples = self._num_samples(number)
        position -= int(self._ends[number]) - num_samples
        last_start = max(0, num_samples - self._segment_length)
        start = min(max(0, position - self._segment_length // 2), last_start)
        return number, start, min(start + self._segment_length, num_samples), random_bits

    def _num_samples(self, number: int) -> int:
        return int(self._ends[number]) - (int(self._ends[number - 1]) if number else 0)


class _Shares:
    """Draws samples from the parts of a corpus, one after the other, in proportion to their weights.

    Segment i is of the part in whose share of [0, 1) the fractional part of i times the golden ratio lies. These are
    spread so evenly that a part's count in consecutive segments is never more than a few off its share, where
    independent draws would be off by the square root of their number; and yet each is a function of i alone.

    Args:
        samples: Samples of each part.
        weights: Of each part; not all 0.
    """

    def __init__(self, samples: Sequence[int], weights: Sequence[float]) -> None:
        self._samples = samples
        self._firsts = [0, *itertools.accumulate(samples)]
        ends = list(itertools.accumulate(weights))
        self._ends = [int(end / ends[-1] * 2**64) for end in ends]

    def position(self, index: int, random_bits: int) -> int:
        """Return the sample of segment `index`, counted from the first part's first, from 64 random bits."""
        part = bisect.bisect_right(self._ends, index * _GOLDEN % 2**64)
        return self._firsts[part] + (random_bits * self._samples[part] >> 64)


def _shares_of(corpus: Corpus) -> _Shares:
    """Return the shares of a corpus's parts; one that is no mix, or a mix without weights, is a single part."""
    weighted = [(part, part.weight) for part in parts_of(corpus) if part.weight is not None]
    for part, weight in weighted:
        if weight and not part.corpus.utterances:
            raise ValueError(
                f"part '{part.name}' of the mix has the weight {weight:g}, but no recordings to train on; give it the "
                "weight 0"
            )
    if not weighted:
        return _Shares([corpus.columns.samples], [1])
    return _Shares([part.corpus.columns.samples for part, _ in weighted], [weight for _, weight in weighted])


class SegmentStream(Sampler[list[int]]):
    """Endless batches of consecutive segment numbers; every process gets its own share.

    Args:
        batch_size: Segments in a batch of one process.
        rank: This process's number.
        world_size: Number of processes.
        start: Number of segments that all processes have already used.
        num_batches: Number of batches after which the first one follows again; 0: none does.

    Raises:
        ValueError: If batch_size is out of range.
    """

    @checked
    def __init__(
        self, batch_size: BatchSize, rank: int = 0, world_size: int = 1, start: int = 0, num_batches: int = 0
    ) -> None:
        self._batch_size, self._rank, self._world_size, self._start = batch_size, rank, world_size, start
        self._period = num_batches * batch_size * world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batch after batch."""
        for batch in itertools.count():
            first = self._start + (batch * self._world_size + self._rank) * self._batch_size
            numbers = range(first, first + self._batch_size)
            yield [number % self._period for number in numbers] if self._period else list(numbers)


class WholeUtterances(Dataset):
    """Every utterance from its beginning to its end, for validation.

    Args:
        corpus: The utterances.
        rank: This process's number.
        world_size: Number of processes, which share the utterances.
    """

    def __init__(self, corpus: Corpus, rank: int = 0, world_size: int = 1) -> None:
        self._corpus = corpus
        self._indices = range(rank, len(corpus.utterances), world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return utterance `index` of this process's share: "waveform" (T,) and "conditions" with their frames."""
        ahead = self._indices[index : index + 3]
        self._corpus.prefetch((each, 0, int(self._corpus.columns.lengths[each])) for each in ahead)
        number = self._indices[index]
        return {"waveform": self._corpus.read(number), "conditions": self._corpus.conditions(number)}
