"""How close resynthesised utterances are to their recordings, by speaker."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from wavenet.audio import Pitch
from wavenet.evaluation import pesq, ratio_interval, similarity, stoi
from wavenet.evaluation.perceptual import pesq_kind

MEASURES = {
    "log_mel_distance": "log-mel, dB",
    "mel_cepstral_distortion": "MCD, dB",
    "f0_error": "F0, cents",
    "f0_error_hz": "F0, Hz",
    "voicing_error": "voicing",
    "pesq": "PESQ",
    "stoi": "STOI",
}
"""What is measured, by its key in the JSON, and the head of its column."""
_NO_PITCH = 'F0 and voicing need pip install "wavenet[pitch]"'
_UNVOICED = "no frame is voiced in both, so there is no error of F0"


def score_resynthesis(
    pairs: Sequence[tuple[Tensor, Tensor]],
    ids: Sequence[tuple[str, str]],
    sample_rate: int,
    confidence: float = 0.95,
    on_progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Compare what was made with recordings; see `similarity`, `pesq` and `stoi` for the measures.

    Args:
        pairs: What was made and its recording, (T,) each.
        ids: Speaker and utterance of each.
        sample_rate: Hz.
        confidence: Of the intervals, which are those of a mean over utterances.
        on_progress: Is called with 1 after each.

    Returns:
        "each": the measures of each utterance, None where one is not available; "by_speaker": their means over
        those utterances that have them, with interval and count, also of "all"; "reasons": why some are not to be
        had, and for how many utterances; and how much was compared.
    """
    each: list[dict[str, Any]] = []
    reasons: dict[str, int] = {}
    for (made, recording), (speaker, utterance) in zip(pairs, ids, strict=True):
        found, lacking = _measures(made, recording, sample_rate)
        each.append({"speaker": speaker, "utterance": utterance, "seconds": len(made) / sample_rate} | found)
        for reason in lacking:
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


def _measures(made: Tensor, recording: Tensor, sample_rate: int) -> tuple[dict[str, float | None], list[str]]:
    """The measures of an utterance, and why some are lacking."""
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    lacking = []
    try:
        alike = similarity(made, recording, sample_rate)
    except ValueError as error:
        lacking.append(str(error))
    else:
        found = {name: getattr(alike, name) for name in MEASURES if hasattr(alike, name)}
        values |= {name: value if math.isfinite(value) else None for name, value in found.items()}
        if values["voicing_error"] is None:
            lacking.append(_UNVOICED if Pitch.is_available() else _NO_PITCH)
        elif values["f0_error"] is None:
            lacking.append(_UNVOICED)
    for name, verdict in (("pesq", pesq), ("stoi", stoi)):
        said = verdict(made, recording, sample_rate)
        values[name] = said.value
        if said.reason:
            lacking.append(said.reason if said.reason[:4].lower() == name else f"{name.upper()}: {said.reason}")
    return values, lacking


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
