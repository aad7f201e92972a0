"""One model, measured and heard: all that the report says of it."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from wavenet.data import Corpus
from wavenet.evaluation import Clips, Score, grouped, ratio_interval, score_each, utterance_bytes
from wavenet.evaluation.bytes import why_not
from wavenet.model import WaveNet
from wavenet.report.making import make, num_steps, told
from wavenet.report.resynthesis import judge
from wavenet.report.sounds import Sound, decode, encode, facts
from wavenet.report.speed import speed

Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], object]]]
"""Called with what is done, how much there is of it and its unit; what is entered is called with what was done."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and on how much.

    Attributes:
        seed: Of what is made.
        confidence: Of the intervals.
        clips: For bits per byte; None does not count them.
        sound_seconds: Length of each sound of the page; 0 is no sounds.
        max_speakers: Speakers who are heard; None is all.
        utterances: Of each speaker, to be resynthesised by a model that takes features; 0 is none.
        utterance_seconds: At most so much of each.
        speed_seconds: Length of what is made to measure the speed; 0 does not measure it.
        weights: How the cpu backend stores them, where the speed is measured.
    """

    seed: int = 0
    confidence: float = 0.95
    clips: Clips | None = None
    sound_seconds: float = 2.0
    max_speakers: int | None = None
    utterances: int = 3
    utterance_seconds: float = 10.0
    speed_seconds: float = 2.0
    weights: str = "float32"


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        name: What the checkpoint is called in the report.
        corpus: What it was examined on.
        scores: Of each utterance.
        result: Plain data: bits, resynthesis, speed, sounds.
        sounds: In the order of `result["sounds"]`.
    """

    name: str
    corpus: Corpus
    scores: list[Score]
    result: dict[str, Any]
    sounds: list[Sound] = field(default_factory=list)


def examine(
    name: str,
    model: WaveNet,
    corpus: Corpus,
    plan: Plan,
    original: WaveNet | None = None,
    progress: Progress = lambda what, total, unit: nullcontext(lambda count: None),
) -> Examination:
    """Measure a model on held-out utterances.

    Args:
        name: What to call it.
        model: The model; its sounds are made with float32 weights, as the scores are.
        corpus: Held-out utterances at its rate, with the features that it takes.
        plan: What to do.
        original: The model whose speed is measured, if its weights were rounded for `model`.
        progress: Shows how far it is.

    Raises:
        ValueError: If the rates differ or the model does not know a speaker.
    """
    with progress("scoring", len(corpus.utterances), "utterance") as done:
        scores = score_each(model, corpus, lambda: done(1))
    result: dict[str, Any] = {
        "name": name,
        "dataset": corpus.name,
        "sample_rate": model.sample_rate,
        "told": list(model.conditioners),
        "distribution": type(model.distribution).__name__,
        "levels": _levels(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "receptive_field": model.receptive_field,
        "bits_per_sample": {
            speaker: _bits([scores[i] for i in theirs], plan.confidence) for speaker, theirs in grouped(corpus).items()
        },
        "bits_per_byte": _bytes(model, corpus, plan, progress),
    }
    sounds, result["resynthesis"] = _heard(name, model, corpus, plan, progress)
    result["sounds"] = [_described(sound) for sound in sounds]
    result["speed"] = None
    if plan.speed_seconds:
        longest = max(range(len(corpus.utterances)), key=lambda i: corpus.utterances[i].num_samples)
        with progress("measuring the speed", 1, "utterance") as done:
            result["speed"] = speed(
                model if original is None else original, plan.speed_seconds, corpus.conditions(longest), plan.weights
            )
            done(1)
    return Examination(name, corpus, scores, result, sounds)


def _levels(model: WaveNet) -> int | None:
    """How many values a sample may have; None if the distribution does not list them."""
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


def _bytes(model: WaveNet, corpus: Corpus, plan: Plan, progress: Progress) -> dict[str, Any] | None:
    """Bits per byte by speaker; or why not; None if nobody asked."""
    clips = plan.clips
    if clips is None:
        return None
    how: dict[str, Any] = {
        "clip_seconds": clips.seconds,
        "quantization": clips.quantization,
        "stretch": clips.stretch,
        "drop_rest": clips.drop_rest,
    }
    reason = why_not(model, clips)
    if reason is not None:
        return how | {"reason": reason}
    each = []
    with progress("counting bits per byte", len(corpus.utterances), "utterance") as done:
        for index in range(len(corpus.utterances)):
            each.append(utterance_bytes(model, corpus, index, clips))
            done(1)
    if not any(score.samples for score in each):
        return how | {"reason": f"no utterance is as long as a clip of {clips.seconds:g} s"}
    by_speaker = {}
    for speaker, theirs in grouped(corpus).items():
        scores = [each[i] for i in theirs if each[i].samples]
        found = _bits(scores, plan.confidence)
        by_speaker[speaker] = {name: found[name] for name in ("value", "interval", "samples", "utterances")}
    return how | {"by_speaker": by_speaker}


def _heard(
    name: str, model: WaveNet, corpus: Corpus, plan: Plan, progress: Progress
) -> tuple[list[Sound], dict[str, Any] | None]:
    """The sounds of the page; and how close the resynthesised ones are, if the model takes features."""
    rate, speakers = model.sample_rate, [speaker for speaker in grouped(corpus) if speaker != "all"]
    shown = speakers[: plan.max_speakers] if plan.sound_seconds else []
    short, judged = round(plan.sound_seconds * rate), plan.utterances if model.features else 0
    best = {speaker: _longest_first(corpus, grouped(corpus)[speaker], short) for speaker in speakers}
    # a speaker's first ones come before all second ones, so that every model has the same seed for what is heard
    chosen = [
        (speaker, best[speaker][rank])
        for rank in range(max(map(len, best.values())))
        for speaker in speakers
        if rank < min(max(judged, speaker in shown), len(best[speaker]))
    ]
    if not chosen:
        return [], None
    limit = max(short, round(plan.utterance_seconds * rate)) if judged else short
    recordings = [corpus.read(i, 0, min(limit, corpus.utterances[i].num_samples)) for _, i in chosen]
    lengths = [len(recording) if model.features else short for recording in recordings]
    conditions = [corpus.conditions(i, 0, length) for (_, i), length in zip(chosen, lengths, strict=True)]
    with progress("making sounds", num_steps(lengths), "sample") as done:
        made = make(model, lengths, conditions, plan.seed, done)

    sounds: list[Sound] = []
    for k, (speaker, i) in enumerate(chosen):
        if speaker in shown and i == best[speaker][0]:
            utterance, of = corpus.utterances[i].id, "resynthesised" if model.features else "generated"
            asked = told(model, corpus.conditions(i, 0, 1))
            words = ", ".join(f"its {n}" if isinstance(v, Tensor) else f"{n} {v}" for n, v in asked.items())
            sounds.append(_sound(recordings[k][:short], rate, speaker, "recording", "", utterance, "", None))
            sounds.append(
                _sound(made[k][:short], rate, speaker, of, name, utterance, words or "nothing", plan.seed + k)
            )
    if not judged:
        return sounds, None
    seconds = round(plan.utterance_seconds * rate)
    pairs = [(a[:seconds], b[:seconds]) for a, b in zip(made, recordings, strict=True)]
    ids = [(speaker, corpus.utterances[i].id) for speaker, i in chosen]
    with progress("comparing", len(pairs), "utterance") as done:
        resynthesis = judge(pairs, ids, rate, plan.confidence, done)
    held_out = {"held_out_utterances": len(corpus.utterances), "held_out_seconds": corpus.seconds, "seed": plan.seed}
    return sounds, resynthesis | held_out


def _longest_first(corpus: Corpus, numbers: Sequence[int], length: int) -> list[int]:
    """First the utterances of that many samples or more, as they come; then shorter ones, the longest first."""
    sizes = {i: min(length, corpus.utterances[i].num_samples) for i in numbers}
    return sorted(numbers, key=lambda i: -sizes[i])


def _sound(
    waveform: Tensor, rate: int, speaker: str, kind: str, of: str, utterance: str, words: str, seed: int | None
) -> Sound:
    file = encode(waveform, rate)
    return Sound(speaker, kind, of, utterance, words, seed, file, facts(decode(file), rate))


def _described(sound: Sound) -> dict[str, Any]:
    names = ("speaker", "kind", "of", "utterance", "told", "seed")
    return {name: getattr(sound, name) for name in names} | sound.facts


def finite(value: Any) -> Any:
    """Plain data in which what is no number or infinite is None, as JSON knows neither."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
