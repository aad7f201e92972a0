"""The scale of features: what they looked like in training, and whether an array of them can be of that scale.

A mel spectrogram in decibels, or with logarithms to another base, has the right shape, and a vocoder makes noise of it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

STATISTICS = ("low", "high", "mean", "spread_low", "spread_high")
_SPECTRAL = 8  # channels, from which on the spread of all values tells the scale; a pitch may be constant
_FEWEST = 50  # frames for that
_BEYOND = 0.5  # of the range in training; values further outside are of another scale
_NARROW = 0.6  # of the smallest spread of a recording in training
_FLOOR = 0.05  # of the range in training; values that low are silence
_QUIET = 0.1  # share of values that are silence, with which a small spread is usual
_CONVERSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "it looks like logarithms to base 10; multiply it by ln(10) = 2.3026": lambda x: x * math.log(10),
    "it looks like decibels, 20 log10; multiply it by ln(10) / 20 = 0.1151": lambda x: x * (math.log(10) / 20),
    "it looks like decibels of power, 10 log10; multiply it by ln(10) / 10 = 0.2303": lambda x: x * (math.log(10) / 10),
    "it looks like magnitudes without a logarithm; take ln(max(x, 1e-5))": lambda x: x.clamp(min=1e-5).log(),
}


def statistics_of(recordings: Iterable[Tensor]) -> dict[str, float]:
    """Return what features look like.

    Args:
        recordings: The frames (channels, frames) of each of several recordings.

    Returns:
        "low" and "high", the smallest and largest value; "mean"; "spread_low" and "spread_high", the smallest and
        largest standard deviation of a recording's values.
    """
    each = [(x.min().item(), x.max().item(), x.mean().item(), _spread(x)) for x in recordings if x.numel()]
    lows, highs, means, spreads = zip(*each, strict=True)
    numbers = (min(lows), max(highs), sum(means) / len(means), min(spreads), max(spreads))
    return dict(zip(STATISTICS, numbers, strict=True))


def check_scale(name: str, frames: Tensor, statistics: Any) -> str | None:
    """Check that features can be of the scale on which a model was trained.

    Args:
        name: Of the features, such as "mel".
        frames: (channels, frames) or (B, channels, frames).
        statistics: Of the training, from `statistics_of`; anything else checks nothing.

    Returns:
        A warning if they are unlikely to be of that scale, with the likely conversion; else None.

    Raises:
        ValueError: If they cannot be; names the ranges and the likely conversion.
    """
    known = _numbers(statistics)
    if known is None or not frames.numel():
        return None
    low, high = known["low"], known["high"]
    margin = _BEYOND * (high - low)
    is_, was = f"{frames.min().item():.4g} to {frames.max().item():.4g}", f"{low:.4g} to {high:.4g}"
    if frames.min() < low - margin or frames.max() > high + margin:
        raise ValueError(f"{name} has values from {is_}, in training they were {was}: {_conversion(frames, known)}")
    silent = (frames < low + _FLOOR * (high - low)).float().mean()
    too_small = frames.shape[-2] < _SPECTRAL or frames.shape[-1] < _FEWEST
    if too_small or silent > _QUIET or _spread(frames) >= _NARROW * known["spread_low"]:
        return None
    return (
        f"{name} varies by only {_spread(frames):.3g} around its mean, in training at least by "
        f"{known['spread_low']:.3g}; if the audio is noise, it has another scale: {_conversion(frames, known)}"
    )


def _conversion(frames: Tensor, known: Mapping[str, float]) -> str:
    """Return the likely conversion to the scale of the training."""
    fitting = {text: convert(frames) for text, convert in _CONVERSIONS.items()}
    fitting = {text: x for text, x in fitting.items() if _fits(x, known)}
    if fitting:
        return min(fitting, key=lambda text: abs(fitting[text].mean().item() - known["mean"]))
    shift = frames.mean().item() - known["mean"]
    if _fits(frames - shift, known):
        return f"it looks shifted; subtract about {shift:.3g}"
    if frames.min() >= -1 and frames.max() <= 1:
        return "it looks normalised; undo the normalisation"
    return "compute it as wavenet.audio.LogMel does, with natural logarithms" if known["low"] < 0 else "convert it"


def _fits(frames: Tensor, known: Mapping[str, float]) -> bool:
    margin = 0.2 * (known["high"] - known["low"])
    inside = frames.min() >= known["low"] - margin and frames.max() <= known["high"] + margin
    return bool(inside) and _NARROW * known["spread_low"] <= _spread(frames) <= known["spread_high"] / _NARROW


def _spread(frames: Tensor) -> float:
    return frames.std(correction=0).item()


def _numbers(statistics: Any) -> dict[str, float] | None:
    if not isinstance(statistics, dict) or not all(
        isinstance(statistics.get(name), int | float) for name in STATISTICS
    ):
        return None
    known = {name: float(statistics[name]) for name in STATISTICS}
    return known if known["low"] < known["high"] and all(map(math.isfinite, known.values())) else None
