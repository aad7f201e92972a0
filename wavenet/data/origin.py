"""Origin and licences of a corpus."""

from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """Licence of some of a corpus's recordings.

    Attributes:
        name: The SPDX identifier, such as "CC-BY-4.0"; or "public domain"; or "unknown".
        attribution: The attribution that the licence requires; empty if none is required.
    """

    name: str
    attribution: str = ""


@dataclass(frozen=True)
class Origin:
    """Licences and origin of recordings, which a published model's card must state.

    Attributes:
        licences: The licences of all recordings, each once; empty if they are unknown.
        hub: Name of the same corpus on the Hugging Face Hub, such as "CSTR-Edinburgh/vctk"; None if it is not there.
    """

    licences: tuple[Licence, ...] = ()
    hub: str | None = None


def each_once(licences: Iterable[Licence]) -> tuple[Licence, ...]:
    """Return the distinct licences of many recordings in order of appearance; empty if all of them are unknown."""
    found = tuple(dict.fromkeys(licences))
    return found if any(licence.name != UNKNOWN for licence in found) else ()
