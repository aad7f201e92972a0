"""Bits per sample: the average number of bits that the model needs for the next sample."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wavenet.data import Corpus
from wavenet.model import WaveNet


@dataclass(frozen=True)
class Score:
    """A sum of bits over samples.

    Attributes:
        bits: Negative log2-likelihood, summed.
        samples: How many samples it is the sum of.
        utterances: How many utterances.
        log2_levels: Bits that it would take to go on from what the distribution tells apart to 16-bit
            samples, summed; see `OutputDistribution`.
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
        """The average; NaN over nothing."""
        return self.bits / self.samples if self.samples else math.nan

    @property
    def bits_per_16_bit_sample(self) -> float:
        """The average for the sample as 16-bit audio has it: comparable between distributions; NaN over nothing."""
        return (self.bits + self.log2_levels) / self.samples if self.samples else math.nan


@torch.inference_mode()
def utterance_bits(
    model: WaveNet, waveform: Tensor, conditions: Mapping[str, Any] | None = None, chunk: int = 65536
) -> Score:
    """Score one utterance: each sample once, given all the samples before it.

    Args:
        model: The model.
        waveform: (T,) in [-1, 1] at the model's rate.
        conditions: Named conditions of the utterance; features are (num_channels, frames).
        chunk: Samples that are run at once. It bounds the memory and changes nothing else, because
            the model's state is carried from chunk to chunk.

    Returns:
        The utterance's score.
    """
    condition, state, bits, log2_levels = model.condition(conditions, 1), None, 0.0, 0.0
    for start, piece in enumerate(waveform.unsqueeze(0).split(chunk, dim=1)):
        now = None if condition is None else condition.slice(start * chunk, piece.shape[1])
        log_prob, state = model.log_prob(piece, now, state)
        bits -= log_prob.double().sum().item() / math.log(2)
        log2_levels += model.distribution.log2_levels(piece).double().sum().item()
    return Score(bits, waveform.shape[0], 1, log2_levels)


def score_each(model: WaveNet, corpus: Corpus, on_progress: Callable[[], object] | None = None) -> list[Score]:
    """Score each utterance of a corpus from beginning to end, in the corpus's order; else as `bits_per_sample`."""
    if corpus.sample_rate != model.sample_rate:
        raise ValueError(f"the corpus is at {corpus.sample_rate} Hz; the model's sample_rate is {model.sample_rate}")
    device = next(model.parameters()).device
    scores = []
    for index in range(len(corpus.utterances)):
        conditions = corpus.conditions(index)
        on_device = {name: c.to(device) if isinstance(c, Tensor) else c for name, c in conditions.items()}
        scores.append(utterance_bits(model, corpus.read(index).to(device), on_device))
        if on_progress is not None:
            on_progress()
    return scores


def grouped(corpus: Corpus, by: str = "speaker") -> dict[str, list[int]]:
    """The numbers of a corpus's utterances for each value of a condition, sorted; and of all of them under "all".

    A value that is itself "all" is called such as "speaker all".
    """
    groups: dict[str, list[int]] = {}
    for index, utterance in enumerate(corpus.utterances):
        value = utterance.conditions.get(by, "unknown")
        groups.setdefault(f"{by} all" if value == "all" else value, []).append(index)
    return dict(sorted(groups.items())) | {"all": list(range(len(corpus.utterances)))}


def bits_per_sample(
    model: WaveNet, corpus: Corpus, by: str = "speaker", on_progress: Callable[[], object] | None = None
) -> dict[str, Score]:
    """Score a corpus, utterance by utterance from beginning to end.

    Args:
        model: The model; the corpus is at its rate.
        corpus: What to score.
        by: The condition to group by.
        on_progress: Is called after each utterance.

    Returns:
        A score for each value of the condition, sorted, and their sum under "all".

    Raises:
        ValueError: If the rates differ or the model does not know a speaker.
    """
    each, groups = score_each(model, corpus, on_progress), grouped(corpus, by)
    del groups["all"]
    scores = {name: sum((each[i] for i in theirs), Score()) for name, theirs in groups.items()}
    return scores | {"all": sum(scores.values(), Score())}
