"""Metadata of a run, stored in its checkpoints."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from wavenet.audio import Features
from wavenet.checkpoint import entry_at, number_at, printable, text_at
from wavenet.conditioning import statistics_of
from wavenet.data import Corpus, Part, parts_of, shares_of
from wavenet.data.origin import UNKNOWN
from wavenet.version import __version__

_MAX_LICENCES = 50
_MAX_PARTS = 50
_MAX_RECORDINGS = 100  # whose features are looked at


def run_metadata(
    train: Corpus,
    held_out: Corpus,
    base: tuple[str, dict[str, Any] | None] | None = None,
    **settings: int | float | str | bool | None,
) -> dict[str, Any]:
    """Describe a run's data and main settings, for `WaveNet.metadata`.

    Args:
        train: Training utterances.
        held_out: Held-out utterances, for validation.
        base: Name and metadata of the model whose weights the run begins with. Its licences count, too.
        **settings: Settings such as the seed, stored unchanged.

    Returns:
        Plain data: "package" and "torch", their versions; "date", of the start; "data", with the dataset's name, its
        licences ({"name": ..., "attribution": ...} each), its size in utterances, seconds and speakers, and the "parts"
        of a mix ({"name", "utterances", "seconds", "share"} each, the last of the training segments); "features", by
        name, what they look like (`statistics_of`); and "training", the settings. `WaveNetTraining` adds "steps" to
        "training", and "validation": {"bits_per_sample", "step", "samples"} of the last one. With a base, "base" has
        its "name", and its "data" and "steps" if they are known.
    """
    origin = train.origin
    licences = [_licence(each.name, each.attribution) for each in origin.licences]
    if base is not None:
        licences = _joined(licences or [_licence(UNKNOWN, "")], base[1])
    data: dict[str, Any] = {
        "name": printable(train.name, 100),
        "utterances": len(train.utterances),
        "seconds": round(train.seconds, 1),
        "speakers": train.columns.num_speakers,
        "held_out_utterances": len(held_out.utterances),
        "held_out_seconds": round(held_out.seconds, 1),
        "licences": licences[:_MAX_LICENCES],
    }
    if origin.hub is not None:
        data["hub"] = origin.hub
    if parts := parts_of(train):
        described = [_describe(part, share) for part, share in zip(parts, shares_of(parts), strict=True)]
        data["parts"] = described[:_MAX_PARTS]
    more = max(0, len(licences) - _MAX_LICENCES) + int(number_at(base and base[1], "data", "more_licences") or 0)
    if more:
        data["more_licences"] = more
    features = {feature.name: _statistics(train, feature) for feature in train.features}
    return (
        ({"features": features} if features else {})
        | ({} if base is None else {"base": _about(*base)})
        | {
            "package": __version__,
            "torch": str(torch.__version__),
            "date": datetime.now(UTC).date().isoformat(),
            "data": data,
            "training": settings,
        }
    )


def with_base(metadata: dict[str, Any], saved: Any) -> dict[str, Any]:
    """Return the metadata of a run that goes on, with what its checkpoint says of the model that it began with."""
    base = entry_at(saved, "base")
    if not isinstance(base, dict):
        return metadata
    data = metadata["data"]
    licences = _joined(data["licences"], saved)
    return metadata | {"base": base, "data": data | {"licences": licences[:_MAX_LICENCES]}}


def _about(name: str, metadata: dict[str, Any] | None) -> dict[str, Any]:
    data, steps = text_at(metadata, "data", "name"), number_at(metadata, "training", "steps")
    found = {"name": printable(name, 100), "data": data and printable(data, 100), "steps": steps}
    return {name: value for name, value in found.items() if value is not None}


def _joined(licences: list[dict[str, str]], metadata: dict[str, Any] | None) -> list[dict[str, str]]:
    """Return licences, and those of another model's metadata that are not among them."""
    return [*licences, *(licence for licence in _licences_of(metadata) if licence not in licences)]


def _licences_of(metadata: dict[str, Any] | None) -> list[dict[str, str]]:
    """Return the licences that a model's metadata has, which anyone may have written; of no data, an unknown one."""
    listed = entry_at(metadata, "data", "licences")
    every = listed if isinstance(listed, list) else []
    found = [_licence(text_at(each, "name") or UNKNOWN, text_at(each, "attribution") or "") for each in every]
    return found or [_licence(UNKNOWN, "")]


def _licence(name: str, attribution: str) -> dict[str, str]:
    return {"name": printable(name, 100), "attribution": printable(attribution)}


def _describe(part: Part, share: float) -> dict[str, Any]:
    """Describe a part of a mix, of whose training segments it has a share."""
    corpus = part.corpus
    size = {"utterances": len(corpus.utterances), "seconds": round(corpus.seconds, 1)}
    return {"name": printable(part.name, 100), **size, "share": round(share, 4)}


def _statistics(train: Corpus, feature: Features) -> dict[str, float]:
    """Return what a feature looks like in some of the recordings."""
    only = replace(train, features=(feature,))  # no other feature's frames are read
    numbers = range(0, len(train.utterances), max(1, len(train.utterances) // _MAX_RECORDINGS))
    statistics = statistics_of(only.conditions(number)[feature.name] for number in numbers)
    return {name: round(value, 6) for name, value in statistics.items()}
