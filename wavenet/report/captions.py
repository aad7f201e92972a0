"""What the page says of each model above its tables, and in the table of models."""

from collections.abc import Mapping, Sequence
from typing import Any

from wavenet.report.generated import shown_temperature


def facts_of_models(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the rows of the table of models: a title, and the text for each model."""
    titles = {
        "output distribution": lambda model: model["distribution_label"],
        "conditions": _conditions,
        "sample rate": lambda model: f"{model['sample_rate']} Hz",
        "parameters": lambda model: f"{model['parameters']:,}",
        "receptive field": _receptive_field,
        "weights": lambda model: model["weights"],
        "dataset": lambda model: model["dataset"],
        "checkpoint": lambda model: model["checkpoint"],
    }
    return [(title, [text(model) for model in models]) for title, text in titles.items()]


def bits_caption(model: Mapping[str, Any]) -> str:
    """Return the caption of a model's bits per sample."""
    weights = "" if model["weights"] == "float32" else f", with {model['weights']} weights"
    return f"Bits per sample of {model['name']}{weights}"


def bytes_caption(model: Mapping[str, Any]) -> str:
    """Return the caption of a model's bits per byte, which says how they were computed."""
    how = model["bits_per_byte"]
    return (
        f"{model['name']}: clips of {how['clip_seconds']:g} s, {how['quantization'].replace('_', '-')}, "
        f"{'each scaled to full scale' if how['stretch'] else 'at their own level'}, "
        f"{'remainders left out' if how['drop_rest'] else 'remainders included'}; conditions: {_conditions(model)}"
    )


def generated_caption(model: Mapping[str, Any]) -> str:
    """Return the caption of the measures of generated audio, which says what was generated."""
    found = model["long_term"]
    return (
        f"{model['name']}: {found['utterances']} utterances of {found['seconds']:g} s for each speaker, at temperature "
        f"{shown_temperature(found)['temperature']:g}, with seeds from {found['seed']}"
    )


def resynthesis_caption(model: Mapping[str, Any]) -> str:
    """Return the caption of the measures of resynthesis, which says what was measured and how."""
    found = model["resynthesis"]
    band = "wideband" if found["pesq"]["mode"] == "wb" else "narrowband"
    return (
        f"{model['name']}: {found['utterances']} of {found['held_out_utterances']} held-out utterances, "
        f"{found['seconds']:.0f} of {found['held_out_seconds']:.0f} s, at temperature {found['temperature']:g}; "
        f"{band} PESQ at {found['pesq']['sample_rate'] // 1000} kHz"
    )


def _conditions(model: Mapping[str, Any]) -> str:
    return ", ".join(model["conditions"]) or "none"


def _receptive_field(model: Mapping[str, Any]) -> str:
    samples = model["receptive_field"]
    return f"{samples:,} samples ({1000 * samples / model['sample_rate']:.3g} ms)"
