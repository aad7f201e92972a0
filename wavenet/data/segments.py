"""The training stream: segment i is a pure function of (seed, i)."""

import bisect
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from wavenet.bounds import BatchSize, SegmentLength, checked
from wavenet.checks import check_positive_int
from wavenet.data.corpus import Corpus


class TrainingSegments(Dataset):
    """Random segments to predict, each with all the context that the model can see.

    Segment i is found by drawing one sample of the corpus, each as likely as any other, and taking
    the segment_length samples around it (moved inward at an utterance's ends, so that the very
    beginning is learnt as well, half as often as the middle). Before the segment come up to
    context_length further samples of the same utterance, which are heard but not predicted: no loss
    is ever computed on a sample whose receptive field was cut off. Where the utterance itself begins
    sooner, the zeros that a causal convolution puts before it are the truth, and generation starts
    from the same zeros.

    If the corpus has features, what is heard begins on a frame of each of them, and if the model has a
    context stack on a frame of that: up to grid - 1 samples earlier, where grid is the least common
    multiple of their lengths. Filters over frames look ahead, so after the segment come up to `margin` further samples,
    as far as the utterance has them, which are not predicted either.

    Args:
        corpus: The training utterances.
        segment_length: Samples predicted in a segment.
        context_length: Samples of context: the model's receptive field, and how far before it the
            filters over frames look back.
        seed: Seed of the stream.
        margin: Samples after the segment: how far the filters over frames look ahead.
        frame: What is heard begins at a multiple of this many samples.

    Raises:
        ValueError: If a number is out of range.
    """

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
        self._corpus = corpus
        self._grid = math.lcm(frame, *(features.hop_length for features in corpus.features))
        self._length = -(-(context_length + segment_length + margin + self._grid - 1) // self._grid) * self._grid
        self._margin = margin
        self._ends = list(itertools.accumulate(u.num_samples for u in corpus.utterances))
        self._segment_length = segment_length
        self._context_length = context_length
        self._seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Segment `index`.

        Returns:
            "waveform": (T,) samples, zeros after the last one that is heard. T is the same for all:
            context_length + segment_length + margin + grid - 1, rounded up to a multiple of grid;
            "predicted": (T,) True where the loss counts;
            "dropout_uniform": a random number in [0, 1), to drop conditions by;
            "segment": its number;
            "conditions": names by condition, and (num_channels, T / hop_length) frames by feature, of
            which those beyond the utterance repeat its last one.
        """
        number, start, stop, more = self._place(index)
        utterance = self._corpus.utterances[number]
        heard_from = max(0, start - self._context_length) // self._grid * self._grid
        heard_to = min(stop + self._margin, utterance.num_samples)

        waveform = torch.zeros(self._length)
        waveform[: heard_to - heard_from] = self._corpus.read(number, heard_from, heard_to)
        predicted = torch.zeros(self._length, dtype=torch.bool)
        predicted[start - heard_from : stop - heard_from] = True
        conditions = self._corpus.conditions(number, heard_from, heard_from + self._length)
        dropout_uniform = torch.tensor((more >> 40) * 2.0**-24)
        return {
            "waveform": waveform,
            "predicted": predicted,
            "dropout_uniform": dropout_uniform,
            "segment": index,
            "conditions": conditions,
        }

    def describe(self, index: int) -> str:
        """Where segment `index` lies, for people: its recording, and seconds in the prepared audio."""
        number, start, stop, _ = self._place(index)
        utterance, rate = self._corpus.utterances[number], self._corpus.sample_rate
        return f"segment {index} ({utterance.id}, {start / rate:.3f} to {stop / rate:.3f} s)"

    def _place(self, index: int) -> tuple[int, int, int, int]:
        """Segment `index`: its utterance's number, first sample, one past the last, and another random number."""
        bits, more = (int(number) for number in np.random.Philox(key=[self._seed, index]).random_raw(2))
        place = bits * self._ends[-1] >> 64
        number = bisect.bisect_right(self._ends, place)
        utterance = self._corpus.utterances[number]
        place -= self._ends[number] - utterance.num_samples
        last_start = max(0, utterance.num_samples - self._segment_length)
        start = min(max(0, place - self._segment_length // 2), last_start)
        return number, start, min(start + self._segment_length, utterance.num_samples), more


class SegmentStream(Sampler[list[int]]):
    """Batches of consecutive segment numbers without end; every process gets its own share.

    Args:
        batch_size: Segments in a batch of one process.
        rank: This process's number.
        world_size: Number of processes.
        start: Number of batches that were already seen (by each process).

    Raises:
        ValueError: If batch_size is out of range.
    """

    @checked
    def __init__(self, batch_size: BatchSize, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        self._batch_size, self._rank, self._world_size, self._start = batch_size, rank, world_size, start

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batch after batch."""
        for batch in itertools.count(self._start):
            first = (batch * self._world_size + self._rank) * self._batch_size
            yield list(range(first, first + self._batch_size))


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
        """Utterance `index` of this process's share: "waveform" (T,) and its "conditions", frames included."""
        number = self._indices[index]
        return {"waveform": self._corpus.read(number), "conditions": self._corpus.conditions(number)}
