"""One request for audio, as it stands in a query."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wavenet.bounds import bounds_of
from wavenet.demo.capabilities import RESYNTHESISE, Capabilities
from wavenet.generation import Stream
from wavenet.types import Real, ValueType

_CONDITION = "conditions."
_SETTINGS = ("mode", "seconds", "seed", "temperature", "top_k")
_BOUNDS = bounds_of(Stream)


@dataclass(frozen=True)
class GenerationRequest:
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
    def read(cls, query: Iterable[tuple[str, str]], capabilities: Capabilities) -> "GenerationRequest":
        """Take a query's settings, all of them strings.

        Args:
            query: Names and values: mode, seconds, seed, temperature, top_k, and conditions.NAME.
            capabilities: What may be asked for.

        Raises:
            ValueError: Names the setting, its value, and what would be right.
        """
        if capabilities.unsupported_reason is not None:
            raise ValueError(capabilities.unsupported_reason)
        given: dict[str, str] = {}
        known = (*_SETTINGS, *(f"{_CONDITION}{name}" for name in capabilities.names))
        for key, value in query:
            if key not in known:
                raise ValueError(f"{key[:60]!r}: there is no such setting; known are {', '.join(known)}")
            if key in given:
                raise ValueError(f"{key} is given twice; once is enough")
            given[key] = value
        mode = given.get("mode", capabilities.modes[0])
        if mode not in capabilities.modes:
            raise ValueError(f"mode is {mode[:60]!r}; it must be {' or '.join(capabilities.modes)} for this model")
        seconds = None
        if mode != RESYNTHESISE:
            longest = Real(0, capabilities.limits.max_seconds, exclusive_low=True)
            seconds = _number("seconds", given.get("seconds", "2"), longest)
        return cls(
            mode,
            seconds,
            _whole("seed", given.get("seed", "0"), _BOUNDS["seed"]),
            _number("temperature", given.get("temperature", "1"), _BOUNDS["temperature"]),
            _whole("top_k", given["top_k"], _BOUNDS["top_k"]) if given.get("top_k") else None,
            {name: given[f"{_CONDITION}{name}"] for name in capabilities.names if given.get(f"{_CONDITION}{name}")},
        )


def _whole(name: str, text: str, kind: ValueType) -> int:
    plain = text.isascii() and text.isdigit() and len(text) < 20
    return _of(kind, name, int(text) if plain else None, text)


def _number(name: str, text: str, kind: ValueType) -> float:
    try:
        value = float(text) if len(text) < 40 else None
    except ValueError:
        value = None
    return _of(kind, name, value, text)


def _of(kind: ValueType, name: str, value: Any, text: str) -> Any:
    """The value, if it is one and of the kind."""
    if value is None or not kind.accepts(value):
        raise ValueError(f"{name} is {text[:60]!r}; it must be {kind}")
    return value
