"""Bits per sample: the mean negative log2-likelihood of the next sample."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wavenet.data import Corpus
from wavenet.model import WaveNet
from wavenet.nn import Condition, batch_conditions


@dataclass(frozen=True)
class Score:
    """A sum of bits over samples.

    Attributes:
        bits: Negative log2-likelihood, summed.
        samples: Number of samples in the sum.
        utterances: Number of utterances.
        log2_levels: Bits from the distribution's levels to the 16-bit sample, summed; see `OutputDistribution`.
    """

    bits: float = 0.0
    samples: int = 0
    utterances: int = 0
    log2_levels: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.bits + other.bits,
            self.samples + other.samples,
            self.utterances + other.utterances,
            self.log2_levels + other.log2_levels,
        )

    @property
    def bits_per_sample(self) -> float:
        """The mean; NaN without samples."""
        return self.bits / self.samples if self.samples else math.nan

    @property
    def bits_per_16_bit_sample(self) -> float:
        """The mean for 16-bit samples, comparable between distributions; NaN without samples."""
        return (self.bits + self.log2_levels) / self.samples if self.samples else math.nan


def utterance_bits(
    model: WaveNet, waveform: Tensor, conditions: Mapping[str, Any] | None = None, chunk: int = 65536
) -> Score:
    """Score one utterance: each sample once, given all samples before it.

    Args:
        model: The model.
        waveform: (T,) in [-1, 1] at the model's rate.
        conditions: Named conditions of the utterance; features are (num_channels, frames).
        chunk: Samples in one forward pass. It bounds the memory and does not change the result, because
            the model's state is carried from chunk to chunk.

    Returns:
        The utterance's score.
    """
    return batch_bits(model, [waveform], [conditions], chunk)[0]


@torch.inference_mode()
def batch_bits(
    model: WaveNet, waveforms: Sequence[Tensor], conditions: Sequence[Mapping[str, Any] | None], chunk: int = 65536
) -> list[Score]:
    """Score utterances together, each as `utterance_bits` does; those that are shorter are padded at their end.

    Args:
        model: The model.
        waveforms: Each (T,) in [-1, 1] at the model's rate.
        conditions: Those of each.
        chunk: Samples of all utterances in one forward pass.
    """
    num, longest = len(waveforms), max(len(waveform) for waveform in waveforms)
    condition = _padded([model.condition(each, 1) for each in conditions], longest)
    step, state, device = max(1, chunk // num), None, waveforms[0].device
    bits, log2_levels = torch.zeros(2, num, dtype=torch.float64, device=device)
    lengths = torch.tensor([[len(waveform)] for waveform in waveforms], device=device)
    for start, samples in enumerate(pad_sequence(list(waveforms), batch_first=True).split(step, dim=1)):
        first, count = start * step, samples.shape[1]
        inside = torch.arange(first, first + count, device=device) < lengths
        log_prob, state = model.log_prob(samples, None if condition is None else condition.slice(first, count), state)
        bits -= torch.where(inside, log_prob, 0).double().sum(1) / math.log(2)
        log2_levels += torch.where(inside, model.distribution.log2_levels(samples), 0).double().sum(1)
    sums = zip(bits.tolist(), waveforms, log2_levels.tolist(), strict=True)
    return [Score(bits, len(waveform), 1, levels) for bits, waveform, levels in sums]


def _padded(conditions: Sequence[Condition | None], length: int) -> Condition | None:
    """Combine the conditions of utterances into that of a batch; those that end before `length` samples are padded."""
    found = []
    for condition in conditions:
        if condition is None:
            return None
        if condition.hop_length is not None:
            frames = -(-(condition.offset + length) // condition.hop_length)
            more = max(0, frames - condition.values.shape[-1])
            found.append(replace(condition, values=torch.nn.functional.pad(condition.values, (0, more))))
        else:
            found.append(condition)
    return batch_conditions(found, length) if len(found) > 1 else found[0]


def batches_by_length(corpus: Corpus, batch_size: int) -> list[np.ndarray]:
    """Return the numbers of a corpus's utterances in batches of similar lengths, the longest first.

    Batches of one are in the corpus's order.
    """
    order = np.arange(len(corpus.utterances))
    if batch_size > 1:
        order = np.argsort(-corpus.columns.lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def score_each(
    model: WaveNet, corpus: Corpus, on_progress: Callable[[], object] | None = None, batch_size: int = 1
) -> list[Score]:
    """Score each utterance of a corpus from beginning to end, in the corpus's order; see `bits_per_sample`.

    Args:
        model: The model.
        corpus: The corpus, at the model's rate.
        on_progress: Called after each utterance.
        batch_size: Utterances that are scored together. Batches change the last bits of a score.

    Raises:
        ValueError: If the rates differ or a speaker is unknown to the model.
        FloatingPointError: If a score is infinite or nan; names the utterance.
    """
    scores = [Score()] * len(corpus.utterances)
    batches = batches_by_length(corpus, batch_size)
    for batch, of_batch in zip(batches, score_batches(model, corpus, batches), strict=True):
        for index, score in zip(batch, of_batch, strict=True):
            scores[index] = score
            if on_progress is not None:
                on_progress()
    return scores


def score_batches(model: WaveNet, corpus: Corpus, batches: Sequence[np.ndarray]) -> Iterator[list[Score]]:
    """Score utterances of a corpus, those of each batch together; see `score_each`.

    On a CPU as many batches as torch has threads are computed at once, each on one thread: the last bits of PyTorch's
    convolutions depend on how many threads share one, and so these do not depend on it.

    Args:
        model: The model.
        corpus: The corpus.
        batches: The utterances' numbers.

    Yields:
        The scores of each batch.
    """
    if corpus.sample_rate != model.sample_rate:
        raise ValueError(f"the corpus is at {corpus.sample_rate} Hz; the model's sample_rate is {model.sample_rate}")
    device = next(model.parameters()).device
    inputs = (_inputs(corpus, batch.tolist(), device) for batch in batches)
    if device.type != "cpu":
        yield from (_scores(model, *each) for each in inputs)
        return
    threads = torch.get_num_threads()
    waiting = deque()
    with ThreadPoolExecutor(threads, "scoring", torch.set_num_threads, (1,)) as pool:
        try:
            for each in inputs:  # read by this thread, a few ahead
                waiting.append(pool.submit(_scores, model, *each))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)


def _inputs(corpus: Corpus, numbers: list[int], device: torch.device) -> tuple[list[str], list[Tensor], list[Any]]:
    """Return the ids, waveforms and conditions of some utterances."""
    conditions = [
        {name: c.to(device) if isinstance(c, Tensor) else c for name, c in corpus.conditions(number).items()}
        for number in numbers
    ]
    waveforms = [corpus.read(number).to(device) for number in numbers]
    return [corpus.utterances[number].id for number in numbers], waveforms, conditions


def _scores(model: WaveNet, ids: list[str], waveforms: list[Tensor], conditions: list[Any]) -> list[Score]:
    scores = batch_bits(model, waveforms, conditions)
    for name, score in zip(ids, scores, strict=True):
        if not math.isfinite(score.bits):
            raise FloatingPointError(
                f"the model's log-likelihood of {name} is infinite or nan: its weights are too large for float32, so "
                "use an older checkpoint"
            )
    return scores


def grouped(corpus: Corpus, by: str = "speaker") -> dict[str, list[int]]:
    """Return the indices of a corpus's utterances for each value of a condition, sorted, and of all under "all".

    A value "all" is renamed to, for example, "speaker all".
    """
    column = corpus.columns.by(by)
    groups: dict[str, list[int]] = {}
    for index, code in enumerate(column.codes.tolist()):
        value = column.value(code, "unknown")
        groups.setdefault(f"{by} all" if value == "all" else value, []).append(index)
    return dict(sorted(groups.items())) | {"all": list(range(len(corpus.utterances)))}


def bits_per_sample(
    model: WaveNet, corpus: Corpus, by: str = "speaker", on_progress: Callable[[], object] | None = None
) -> dict[str, Score]:
    """Score a corpus, utterance by utterance from beginning to end.

    Args:
        model: The model.
        corpus: The corpus, at the model's rate.
        by: The condition to group by.
        on_progress: Called after each utterance.

    Returns:
        A score for each value of the condition, sorted, and their sum under "all".

    Raises:
        ValueError: If the rates differ or a speaker is unknown to the model.
        FloatingPointError: If a score is infinite or nan; names the utterance.
    """
    each, groups = score_each(model, corpus, on_progress), grouped(corpus, by)
    del groups["all"]
    scores = {name: sum((each[i] for i in indices), Score()) for name, indices in groups.items()}
    return scores | {"all": sum(scores.values(), Score())}
