"""Measures of the resynthesis of recordings, by speaker."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from wavenet.audio import Pitch
from wavenet.evaluation import pesq, ratio_interval, similarity, stoi
from wavenet.evaluation.perceptual import pesq_kind
from wavenet.extras import install_command

MEASURES = {
    "log_mel_distance": "log-mel, dB",
    "mel_cepstral_distortion": "MCD, dB",
    "f0_error": "F0, cents",
    "f0_error_hz": "F0, Hz",
    "voicing_error": "voicing",
    "pesq": "PESQ",
    "stoi": "STOI",
}
"""The measures: the key in the JSON, and the heading of the column."""
_UNVOICED = "no frame is voiced in both, so there is no F0 error"


def score_resynthesis(
    pairs: Sequence[tuple[Tensor, Tensor]],
    ids: Sequence[tuple[str, str]],
    sample_rate: int,
    confidence: float = 0.95,
    on_progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Compare resynthesised audio with recordings; see `similarity`, `pesq` and `stoi` for the measures.

    Args:
        pairs: Resynthesised audio and its recording, (T,) each.
        ids: Speaker and utterance of each.
        sample_rate: Hz.
        confidence: Confidence level of the intervals, which are those of a mean over utterances.
        on_progress: Called with 1 after each utterance.

    Returns:
        "each": the measures of each utterance, None where one is not available; "by_speaker": their means over
        those utterances that have them, with interval and count, also of "all"; "reasons": why some are not
        available, and for how many utterances; and how much was compared.
    """
    each: list[dict[str, Any]] = []
    reasons: dict[str, int] = {}
    for (generated, recording), (speaker, utterance) in zip(pairs, ids, strict=True):
        found, missing = _measures(generated, recording, sample_rate)
        each.append({"speaker": speaker, "utterance": utterance, "seconds": len(generated) / sample_rate} | found)
        for reason in missing:
            reasons[reason] = reasons.get(reason, 0) + 1
        if on_progress is not None:
            on_progress(1)
    speakers = dict.fromkeys(speaker for speaker, _ in ids)
    rate, mode = pesq_kind(sample_rate)
    return {
        "utterances": len(each),
        "seconds": sum(one["seconds"] for one in each),
        "pesq": {"sample_rate": rate, "mode": mode},
        "by_speaker": {
            name: _means([one for one in each if name in ("all", one["speaker"])], confidence)
            for name in [*speakers, "all"]
        },
        "reasons": reasons,
        "each": each,
    }


def _measures(generated: Tensor, recording: Tensor, sample_rate: int) -> tuple[dict[str, float | None], list[str]]:
    """Return the measures of an utterance, and the reasons for missing ones."""
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    missing = []
    try:
        distances = similarity(generated, recording, sample_rate)
    except ValueError as error:
        missing.append(str(error))
    else:
        found = {name: getattr(distances, name) for name in MEASURES if hasattr(distances, name)}
        values |= {name: value if math.isfinite(value) else None for name, value in found.items()}
        if values["voicing_error"] is None:
            missing.append(_UNVOICED if Pitch.is_available() else f"F0 and voicing need {install_command('pitch')}")
        elif values["f0_error"] is None:
            missing.append(_UNVOICED)
    for name, measure in (("pesq", pesq), ("stoi", stoi)):
        result = measure(generated, recording, sample_rate)
        values[name] = result.value
        if result.reason:
            missing.append(result.reason if result.reason[:4].lower() == name else f"{name.upper()}: {result.reason}")
    return values, missing


def _means(each: Sequence[dict[str, Any]], confidence: float) -> dict[str, Any]:
    means: dict[str, Any] = {}
    for name in MEASURES:
        values = [one[name] for one in each if one[name] is not None]
        means[name] = {
            "value": math.fsum(values) / len(values) if values else None,
            "interval": ratio_interval(values, [1] * len(values), confidence),
            "utterances": len(values),
        }
    return means
