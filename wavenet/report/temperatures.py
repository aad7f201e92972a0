"""Choice of the temperature whose audio is most like the recordings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wavenet.evaluation import LongTerm, jackknife_interval, long_term_distance


def compare_temperatures(
    measured: Mapping[float, Sequence[Sequence[LongTerm]]], recordings: Sequence[LongTerm], confidence: float = 0.95
) -> dict[str, Any]:
    """Choose a temperature by `long_term_distance` from the recordings, mean over speakers: the smallest is the best.

    All temperatures have the same seeds, so that differences are of pairs. Intervals are the jackknife's over the
    utterances of each speaker; they cover other seeds, not another training run.

    Args:
        measured: For each temperature and each speaker, measures of all generated utterances, and then of all but the
            first, all but the second and so on.
        recordings: Measures of each speaker's recordings.
        confidence: Confidence level of the intervals.

    Returns:
        "distances": for each temperature its "distance" (NaN if a speaker is silent), the "interval", and "above_best",
        the interval of the difference from the best; "best": the temperature, None if all are silent; and
        "not_distinguished": others whose difference from it may be 0.
    """
    distances = {
        temperature: [
            math.fsum(long_term_distance(each, own) for each, own in zip(speakers, recordings, strict=True))
            / len(recordings)
            for speakers in zip(*by_speaker, strict=True)
        ]
        for temperature, by_speaker in measured.items()
    }
    audible = [temperature for temperature, (whole, *_) in distances.items() if math.isfinite(whole)]
    best = min(audible, key=lambda temperature: distances[temperature][0], default=None)
    table, others = [], []
    for temperature, values in distances.items():
        above = None
        if best is not None and temperature != best:
            above = _interval([a - b for a, b in zip(values, distances[best], strict=True)], confidence)
            if above is not None and above[0] <= 0:
                others.append(temperature)
        row = {"temperature": temperature, "distance": values[0], "interval": _interval(values, confidence)}
        table.append(row | {"above_best": above})
    return {"distances": table, "best": best, "not_distinguished": others}


def _interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return the interval for a value, which is followed by those without each utterance."""
    return jackknife_interval(values[0], values[1:], confidence) if all(map(math.isfinite, values)) else None
