"""Metadata of a run, stored in its checkpoints."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

import wavenet
from wavenet.audio import Features
from wavenet.checkpoint import printable
from wavenet.conditioning import statistics_of
from wavenet.data import Corpus

_MAX_LICENCES = 50
_MAX_RECORDINGS = 100  # whose features are looked at


def run_metadata(train: Corpus, held_out: Corpus, **settings: int | float | str | bool | None) -> dict[str, Any]:
    """Describe a run's data and main settings, for `WaveNet.metadata`.

    Args:
        train: Training utterances.
        held_out: Held-out utterances, for validation.
        **settings: Settings such as the seed, stored unchanged.

    Returns:
        Plain data: "package" and "torch", their versions; "date", of the start; "data", with the dataset's name, its
        licences ({"name": ..., "attribution": ...} each) and its size in utterances, seconds and speakers; "features",
        by name, what they look like (`statistics_of`); and "training", the settings. `WaveNetTraining` adds "steps" to
        "training", and "validation": {"bits_per_sample", "step", "samples"} of the last one.
    """
    origin = train.origin
    licences = [
        {"name": printable(licence.name, 100), "attribution": printable(licence.attribution)}
        for licence in origin.licences[:_MAX_LICENCES]
    ]
    data: dict[str, Any] = {
        "name": printable(train.name, 100),
        "utterances": len(train.utterances),
        "seconds": round(train.seconds, 1),
        "speakers": train.columns.num_speakers,
        "held_out_utterances": len(held_out.utterances),
        "held_out_seconds": round(held_out.seconds, 1),
        "licences": licences,
    }
    if origin.hub is not None:
        data["hub"] = origin.hub
    if len(origin.licences) > _MAX_LICENCES:
        data["more_licences"] = len(origin.licences) - _MAX_LICENCES
    features = {feature.name: _statistics(train, feature) for feature in train.features}
    return ({"features": features} if features else {}) | {
        "package": wavenet.__version__,
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).date().isoformat(),
        "data": data,
        "training": settings,
    }


def _statistics(train: Corpus, feature: Features) -> dict[str, float]:
    """Return what a feature looks like in some of the recordings."""
    only = replace(train, features=(feature,))  # no other feature's frames are read
    numbers = range(0, len(train.utterances), max(1, len(train.utterances) // _MAX_RECORDINGS))
    statistics = statistics_of(only.conditions(number)[feature.name] for number in numbers)
    return {name: round(value, 6) for name, value in statistics.items()}
