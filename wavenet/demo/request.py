"""A request for audio, from a query string."""

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
    """A request for audio.

    Attributes:
        mode: One of the modes of `Capabilities`.
        seconds: Length of the generated audio; None for the length of the recording.
        seed: Seed, as in `wavenet.stream`.
        temperature: Sampling temperature, as in `wavenet.stream`.
        top_k: Number of likeliest classes to sample from, as in `wavenet.stream`; None for all.
        names: Categorical conditions, such as {"speaker": "june"}.
    """

    mode: str
    seconds: float | None
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, query: Iterable[tuple[str, str]], capabilities: Capabilities) -> "GenerationRequest":
        """Parse a query's settings, all of them strings.

        Args:
            query: Names and values: mode, seconds, seed, temperature, top_k, and conditions.NAME.
            capabilities: The supported requests.

        Raises:
            ValueError: If a setting is unknown, repeated or invalid; names the setting, its value and the valid values.
        """
        if capabilities.unsupported_reason is not None:
            raise ValueError(capabilities.unsupported_reason)
        values: dict[str, str] = {}
        known = (*_SETTINGS, *(f"{_CONDITION}{name}" for name in capabilities.names))
        for key, value in query:
            if key not in known:
                raise ValueError(f"{key[:60]!r}: there is no such setting; known are {', '.join(known)}")
            if key in values:
                raise ValueError(f"{key} is given twice; once is enough")
            values[key] = value
        mode = values.get("mode", capabilities.modes[0])
        if mode not in capabilities.modes:
            raise ValueError(f"mode is {mode[:60]!r}; it must be {' or '.join(capabilities.modes)} for this model")
        seconds = None
        if mode != RESYNTHESISE:
            longest = Real(0, capabilities.limits.max_seconds, exclusive_low=True)
            seconds = _number("seconds", values.get("seconds", "2"), longest)
        return cls(
            mode,
            seconds,
            _whole("seed", values.get("seed", "0"), _BOUNDS["seed"]),
            _number("temperature", values.get("temperature", "1"), _BOUNDS["temperature"]),
            _whole("top_k", values["top_k"], _BOUNDS["top_k"]) if values.get("top_k") else None,
            {name: values[f"{_CONDITION}{name}"] for name in capabilities.names if values.get(f"{_CONDITION}{name}")},
        )


def _whole(name: str, text: str, value_type: ValueType) -> int:
    is_whole = text.isascii() and text.isdigit() and len(text) < 20
    return _checked(value_type, name, int(text) if is_whole else None, text)


def _number(name: str, text: str, value_type: ValueType) -> float:
    try:
        value = float(text) if len(text) < 40 else None
    except ValueError:
        value = None
    return _checked(value_type, name, value, text)


def _checked(value_type: ValueType, name: str, value: Any, text: str) -> Any:
    """Return the value, if it is valid for its type."""
    if value is None or not value_type.accepts(value):
        raise ValueError(f"{name} is {text[:60]!r}; it must be {value_type}")
    return value
