"""Bits per sample: the mean negative log2-likelihood of the next sample."""

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


@torch.inference_mode()
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
    condition, state, bits, log2_levels = model.condition(conditions, 1), None, 0.0, 0.0
    for start, samples in enumerate(waveform.unsqueeze(0).split(chunk, dim=1)):
        samples_condition = None if condition is None else condition.slice(start * chunk, samples.shape[1])
        log_prob, state = model.log_prob(samples, samples_condition, state)
        bits -= log_prob.double().sum().item() / math.log(2)
        log2_levels += model.distribution.log2_levels(samples).double().sum().item()
    return Score(bits, waveform.shape[0], 1, log2_levels)


def score_each(model: WaveNet, corpus: Corpus, on_progress: Callable[[], object] | None = None) -> list[Score]:
    """Score each utterance of a corpus from beginning to end, in the corpus's order; see `bits_per_sample`.

    Raises:
        ValueError: If the rates differ or a speaker is unknown to the model.
        FloatingPointError: If a score is infinite or nan; names the utterance.
    """
    if corpus.sample_rate != model.sample_rate:
        raise ValueError(f"the corpus is at {corpus.sample_rate} Hz; the model's sample_rate is {model.sample_rate}")
    device = next(model.parameters()).device
    scores = []
    for index in range(len(corpus.utterances)):
        conditions = corpus.conditions(index)
        on_device = {name: c.to(device) if isinstance(c, Tensor) else c for name, c in conditions.items()}
        score = utterance_bits(model, corpus.read(index).to(device), on_device)
        if not math.isfinite(score.bits):
            raise FloatingPointError(
                f"the model's log-likelihood of {corpus.utterances[index].id} is infinite or nan: its weights are too "
                "large for float32, so use an older checkpoint"
            )
        scores.append(score)
        if on_progress is not None:
            on_progress()
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
