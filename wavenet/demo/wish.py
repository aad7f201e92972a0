"""One request for audio, as it stands in a query."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from wavenet.demo.offer import RESYNTHESISE, Offer

_CONDITION = "conditions."
_SETTINGS = ("mode", "seconds", "seed", "temperature", "top_k")
_HOTTEST = 1000  # as on the command line


@dataclass(frozen=True)
class Wish:
    """What is wanted.

    Attributes:
        mode: One of the offer's modes.
        seconds: Length of what is made; None for as long as the recording.
        seed: See `wavenet.stream`, as what follows.
        temperature: Of the draws.
        top_k: Draw among so many classes only.
        names: Conditions that are names, such as {"speaker": "june"}.
    """

    mode: str
    seconds: float | None
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, query: Iterable[tuple[str, str]], offer: Offer) -> "Wish":
        """Take a query's settings, all of them strings.

        Args:
            query: Names and values: mode, seconds, seed, temperature, top_k, and conditions.NAME.
            offer: What may be asked for.

        Raises:
            ValueError: Names the setting, its value, and what would be right.
        """
        if offer.refusal is not None:
            raise ValueError(offer.refusal)
        given: dict[str, str] = {}
        known = (*_SETTINGS, *(f"{_CONDITION}{name}" for name in offer.names))
        for key, value in query:
            if key not in known:
                raise ValueError(f"{key[:60]!r}: there is no such setting; known are {', '.join(known)}")
            if key in given:
                raise ValueError(f"{key} is given twice; once is enough")
            given[key] = value
        mode = given.get("mode", offer.modes[0])
        if mode not in offer.modes:
            raise ValueError(f"mode is {mode[:60]!r}; it must be {' or '.join(offer.modes)} for this model")
        seconds = None
        if mode != RESYNTHESISE:
            seconds = _number("seconds", given.get("seconds", "2"), 0, offer.limits.max_seconds)
            if seconds == 0:
                raise ValueError("seconds is 0; it must be above 0")
        return cls(
            mode,
            seconds,
            _whole("seed", given.get("seed", "0"), 0, 2**63 - 1),
            _number("temperature", given.get("temperature", "1"), 0, _HOTTEST),
            _whole("top_k", given["top_k"], 1, 2**16) if given.get("top_k") else None,
            {name: given[f"{_CONDITION}{name}"] for name in offer.names if given.get(f"{_CONDITION}{name}")},
        )


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ValueError(f"{name} is {text[:60]!r}; it must be a whole number from {low} to {high}")
    return int(text)


def _number(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text) if len(text) < 40 else math.nan
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(f"{name} is {text[:60]!r}; it must be a number from {low:g} to {high:g}")
    return value
