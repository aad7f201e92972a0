"""The report on one model: measurements and sounds."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from wavenet.data import Corpus
from wavenet.evaluation import Score, grouped, ratio_interval, score_each, utterance_bytes
from wavenet.evaluation.bits_per_byte import unsupported_reason
from wavenet.model import WaveNet
from wavenet.report.generated import measure_generated, request_utterances
from wavenet.report.resynthesis import score_resynthesis
from wavenet.report.selection import select_utterances
from wavenet.report.settings import ReportSettings
from wavenet.report.sounds import Sound
from wavenet.report.speed import speed

Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], object]]]
"""Called with a task, its total and its unit; returns a context whose value is called with the progress."""


@dataclass(frozen=True)
class ModelReport:
    """The report on a model.

    Attributes:
        name: The checkpoint's name in the report.
        corpus: The corpus that it was evaluated on.
        scores: The score of each utterance.
        result: Plain data: bits, generated audio as a whole, resynthesis, speed, sounds.
        sounds: The sounds, in the order of `result["sounds"]`.
    """

    name: str
    corpus: Corpus
    scores: list[Score]
    result: dict[str, Any]
    sounds: list[Sound] = field(default_factory=list)


def report_on_model(
    name: str,
    model: WaveNet,
    corpus: Corpus,
    settings: ReportSettings,
    original: WaveNet | None = None,
    progress: Progress = lambda what, total, unit: nullcontext(lambda count: None),
    score: Callable[[WaveNet, Corpus, Callable[[], object]], list[Score]] = score_each,
) -> ModelReport:
    """Measure a model on held-out utterances.

    Args:
        name: The model's name in the report.
        model: The model; its sounds are generated with float32 weights, and its scores computed with them.
        corpus: Held-out utterances at the model's rate, with the features that it needs.
        settings: What to measure.
        original: The model whose speed is measured, if its weights were rounded for `model`.
        progress: Shows the progress of each task.
        score: Returns the score of each utterance.

    Raises:
        ValueError: If the rates differ or a speaker is unknown to the model.
    """
    with progress("scoring", len(corpus.utterances), "utterance") as done:
        scores = score(model, corpus, lambda: done(1))
    result: dict[str, Any] = {
        "name": name,
        "dataset": corpus.name,
        "sample_rate": model.sample_rate,
        "conditions": list(model.conditioners),
        "distribution": type(model.distribution).__name__,
        "distribution_label": model.distribution.label,
        "levels": _levels(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "receptive_field": model.receptive_field,
        "bits_per_sample": {
            speaker: _bits([scores[i] for i in indices], settings.confidence)
            for speaker, indices in grouped(corpus).items()
        },
        "bits_per_byte": _bytes(model, corpus, settings, progress),
    }
    selection = select_utterances(model, corpus, settings)
    with progress("generating sounds", selection.num_steps, "sample") as done:
        generated = selection.make(model, settings, done)
    sounds = selection.sounds(generated, name, model, settings)
    result["sounds"] = [sound.described() for sound in sounds]
    result["long_term"] = _long_term(model, corpus, settings, progress)
    result["resynthesis"] = None
    if model.features and settings.utterances:
        with progress("measuring the resynthesis", len(generated), "utterance") as done:
            resynthesis = score_resynthesis(
                selection.pairs(generated, settings.utterance_seconds),
                selection.ids,
                model.sample_rate,
                settings.confidence,
                done,
            )
        total = {
            "held_out_utterances": len(corpus.utterances),
            "held_out_seconds": corpus.seconds,
            "seed": settings.seed,
            "temperature": settings.utterance_temperature,
        }
        result["resynthesis"] = resynthesis | total
    result["speed"] = None
    if settings.speed_seconds:
        longest = max(range(len(corpus.utterances)), key=lambda i: corpus.utterances[i].num_samples)
        with progress("measuring the speed", 1, "utterance") as done:
            result["speed"] = speed(
                model if original is None else original,
                settings.speed_seconds,
                corpus.conditions(longest),
                settings.weights,
            )
            done(1)
    return ModelReport(name, corpus, scores, result, sounds)


def _levels(model: WaveNet) -> int | None:
    """Return the number of values of a sample; None if the distribution does not list them."""
    levels = getattr(model.distribution, "levels", None)
    return None if levels is None else len(levels())


def _bits(scores: Sequence[Score], confidence: float) -> dict[str, Any]:
    total, samples = sum(scores, Score()), [score.samples for score in scores]
    return {
        "value": total.bits_per_sample,
        "as_16_bit": total.bits_per_16_bit_sample,
        "samples": total.samples,
        "utterances": total.utterances,
        "interval": ratio_interval([score.bits for score in scores], samples, confidence),
        "as_16_bit_interval": ratio_interval([s.bits + s.log2_levels for s in scores], samples, confidence),
    }


def _bytes(model: WaveNet, corpus: Corpus, settings: ReportSettings, progress: Progress) -> dict[str, Any] | None:
    """Return bits per byte by speaker, or the reason for having none; None if not requested."""
    clips = settings.clips
    if clips is None:
        return None
    how: dict[str, Any] = {
        "clip_seconds": clips.seconds,
        "quantization": clips.quantization,
        "stretch": clips.stretch,
        "drop_rest": clips.drop_rest,
    }
    reason = unsupported_reason(model, clips)
    if reason is not None:
        return how | {"reason": reason}
    each = []
    with progress("computing bits per byte", len(corpus.utterances), "utterance") as done:
        for index in range(len(corpus.utterances)):
            each.append(utterance_bytes(model, corpus, index, clips))
            done(1)
    if not any(score.samples for score in each):
        return how | {"reason": f"no utterance is as long as a clip of {clips.seconds:g} s"}
    by_speaker = {}
    for speaker, indices in grouped(corpus).items():
        scores = [each[i] for i in indices if each[i].samples]
        found = _bits(scores, settings.confidence)
        by_speaker[speaker] = {name: found[name] for name in ("value", "interval", "samples", "utterances")}
    return how | {"by_speaker": by_speaker}


def _long_term(model: WaveNet, corpus: Corpus, settings: ReportSettings, progress: Progress) -> dict[str, Any] | None:
    """Return measures of generated audio beside the recordings; None if not requested, or if all are too short."""
    requests = request_utterances(model, corpus, settings) if settings.long_term_utterances else None
    if requests is None or not requests.lengths:
        return None
    with progress("measuring generated audio", requests.num_steps(settings.temperatures), "sample") as done:
        return measure_generated(requests, model, settings, done)


def finite(value: Any) -> Any:
    """Replace NaN and infinity in plain data with None, as JSON has neither."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
