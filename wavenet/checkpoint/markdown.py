"""Markdown in which text from an unknown source has no effect beyond being read."""

import re

from wavenet.checkpoint.metadata import printable

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Markdown(str):
    """Text that is Markdown already, and is not to be escaped."""


def escaped(text: str, length: int = 500) -> Markdown:
    r"""Text as it reads, on one line: no markup, HTML, formula, table cell or list can begin or end in it.

    >>> print(escaped("*Ann*\n---\n<b>$x|"))
    \*Ann\* --- &lt;b&gt;\$x\|
    """
    line = printable(text, length)
    line = re.sub(r"[&<>]", lambda match: _ENTITIES[match[0]], line)
    line = re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", line)
    line = re.sub(r"^(\d+)([.)])(?= |$)", r"\1\\\2", line)
    return Markdown(re.sub(r"^[-#+=:]", r"\\\g<0>", line))


def literal(text: str) -> Markdown:
    r"""A Python string that means this text, on one line.

    >>> print(literal("june"), literal('"\n```'))
    "june" '"\n```'
    """
    return Markdown(f'"{text}"' if re.fullmatch(r"[A-Za-z0-9 _./-]+", text) else repr(text))
