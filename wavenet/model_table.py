"""A model's main numbers as an HTML table, which a notebook shows in place of its text."""

import html
from typing import Any

from wavenet.conditioning import CategoricalEmbedding


def model_table(model: Any) -> str:
    """Return the table.

    Args:
        model: A `WaveNet`.
    """
    rows = main_numbers(model)
    if model.context is not None:
        rows["Context stack"] = _samples(model.context.receptive_field, model.sample_rate)
    for name, conditioner in model.conditioners.items():
        rows[f"Condition: {name}"] = _values(conditioner)
    cells = [f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items()]
    return f"<table><caption>{html.escape(type(model).__name__)}</caption>{''.join(cells)}</table>"


def main_numbers(model: Any) -> dict[str, str]:
    """Return the numbers that every model has, in words, by what they are; its card has them, too."""
    channels = [f"{getattr(model, f'{name}_channels')} {name}" for name in ("residual", "gate", "skip")]
    return {
        "Parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "Sample rate": f"{model.sample_rate} Hz",
        "Receptive field": _samples(model.receptive_field, model.sample_rate),
        "Layers": f"{model.stack.num_layers}: {model.num_cycles} x {model.dilation_cycle}, "
        f"kernel size {model.kernel_size}",
        "Channels": ", ".join(channels),
        "Output distribution": model.distribution.label,
    }


def _samples(number: int, rate: int) -> str:
    return f"{number} samples, {1000 * number / rate:.0f} ms"


def _values(conditioner: Any) -> str:
    """What a condition consists of."""
    optional = " (optional)" if conditioner.dropout else ""
    if isinstance(conditioner, CategoricalEmbedding):
        number = len(conditioner.categories)
        return f"{number} name{'s' * (number > 1)}{optional}"
    if conditioner.features is None:
        return type(conditioner).__name__ + optional
    return f"{conditioner.features.num_channels} numbers for every {conditioner.features.hop_length} samples{optional}"
