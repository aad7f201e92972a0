"""Names of speakers and other conditions, which are data: they are never parsed."""

import re
import unicodedata

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
