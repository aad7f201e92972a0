"""The training stream: segment i is a pure function of (seed, i)."""

import bisect
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

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

    Args:
        corpus: The training utterances.
        segment_length: Samples predicted in a segment.
        context_length: Samples of context: the model's receptive field.
        seed: Seed of the stream.
    """

    def __init__(self, corpus: Corpus, segment_length: int, context_length: int, seed: int) -> None:
        check_positive_int("TrainingSegments", segment_length=segment_length, context_length=context_length)
        self._corpus = corpus
        self._ends = list(itertools.accumulate(u.num_samples for u in corpus.utterances))
        self._segment_length = segment_length
        self._context_length = context_length
        self._seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Segment `index`.

        Returns:
            "waveform": (context_length + segment_length,) samples, zeros after the end;
            "predicted": (the same length,) True where the loss counts;
            "conditions": names by condition.
        """
        bits = int(np.random.Philox(key=[self._seed, index]).random_raw())
        place = bits * self._ends[-1] >> 64
        number = bisect.bisect_right(self._ends, place)
        utterance = self._corpus.utterances[number]
        place -= self._ends[number] - utterance.num_samples
        last_start = max(0, utterance.num_samples - self._segment_length)
        start = min(max(0, place - self._segment_length // 2), last_start)
        stop = min(start + self._segment_length, utterance.num_samples)
        heard_from = max(0, start - self._context_length)

        length = self._context_length + self._segment_length
        waveform = torch.zeros(length)
        waveform[: stop - heard_from] = self._corpus.read(number, heard_from, stop)
        predicted = torch.zeros(length, dtype=torch.bool)
        predicted[start - heard_from : stop - heard_from] = True
        return {"waveform": waveform, "predicted": predicted, "conditions": utterance.conditions}


class SegmentStream(Sampler[list[int]]):
    """Batches of consecutive segment numbers without end; every process gets its own share.

    Args:
        batch_size: Segments in a batch of one process.
        rank: This process's number.
        world_size: Number of processes.
        start: Number of batches that were already seen (by each process).
    """

    def __init__(self, batch_size: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        check_positive_int("SegmentStream", batch_size=batch_size)
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
        """Utterance `index` of this process's share: "waveform" (T,) and "conditions"."""
        number = self._indices[index]
        return {"waveform": self._corpus.read(number), "conditions": self._corpus.utterances[number].conditions}
