"""Names of speakers and other conditions, which are data: they are never parsed; and the name that was meant."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""Escape control characters, such as a newline in a file name, and bytes that are not valid Unicode.

    >>> print(one_line("Zoë\n\udcff.wav"))
    Zoë\n\udcff.wav
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def normalise(name: str) -> str:
    r"""Return a name in the form in which names are compared and saved: composed (NFC), trimmed, without control codes.

    macOS decomposes letters with accents, and keyboards do not. Two names with the same form are the same name.

    >>> normalise("Zoe\u0308 ") == "Zo\u00eb"
    True
    """
    return one_line(unicodedata.normalize("NFC", name).strip())


def listed(names: Sequence[str], most: int) -> str:
    """List the first few of many names, and say how many more there are.

    >>> listed(["allison", "carlo", "june"], 2), listed(["allison", "carlo"], 2)
    ('allison, carlo and 1 more', 'allison, carlo')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def closest(key: str, known: Iterable[str]) -> str:
    """Return the known key that was probably meant: one with the same last part, else the most similar; else "".

    >>> closest("optimzer.lr", ["seed", "optimizer.lr"]), closest("lr", ["seed", "optimizer.lr"]), closest("x", ["y"])
    ('optimizer.lr', 'optimizer.lr', '')
    """
    known = sorted(set(known))
    same = [each for each in known if each.split(".")[-1] == key.rsplit(".", maxsplit=1)[-1]]
    if len(same) == 1:
        return same[0]
    group, _, last = key.rpartition(".")
    beside = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == group}
    if beside and not same:
        return "".join(beside[name] for name in difflib.get_close_matches(last, beside, n=1))
    similar = difflib.get_close_matches(key, same or known, n=1)
    return similar[0] if similar else ""
