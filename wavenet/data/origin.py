"""Where a corpus comes from, and on what terms."""

from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """The terms of some of a corpus's recordings.

    Attributes:
        name: As SPDX writes it, such as "CC-BY-4.0"; or "public domain"; or "unknown".
        attribution: Who is to be named, and as what; empty if nobody asks for it.
    """

    name: str
    attribution: str = ""


@dataclass(frozen=True)
class Origin:
    """What whoever publishes a model has to say about the recordings that it learnt from.

    Attributes:
        licences: Those of all recordings, each once; none if nothing is known.
        hub: The same corpus on the Hugging Face Hub, such as "CSTR-Edinburgh/vctk"; None if it is not there.
    """

    licences: tuple[Licence, ...] = ()
    hub: str | None = None


def each_once(licences: Iterable[Licence]) -> tuple[Licence, ...]:
    """The licences of many recordings in the order in which they come; none if all of them are unknown."""
    found = tuple(dict.fromkeys(licences))
    return found if any(licence.name != UNKNOWN for licence in found) else ()
