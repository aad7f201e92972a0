"""Markdown in which nothing that a stranger wrote is more than text."""

import re
from collections.abc import Iterable, Sequence

from wavenet.checkpoint.metadata import printable

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str, length: int = 500) -> str:
    r"""Text as it reads, on one line: no markup, HTML, formula, table cell or list can begin or end in it.

    >>> print(escaped("*Ann*\n---\n<b>$x|"))
    \*Ann\* --- &lt;b&gt;\$x\|
    """
    line = printable(text, length)
    line = re.sub(r"[&<>]", lambda match: _ENTITIES[match[0]], line)
    line = re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", line)
    line = re.sub(r"^(\d+)([.)])(?= |$)", r"\1\\\2", line)
    return re.sub(r"^[-#+=:]", r"\\\g<0>", line)


def literal(text: str) -> str:
    r"""A Python string that means this text, on one line.

    >>> print(literal("june"), literal('"\n```'))
    "june" '"\n```'
    """
    return f'"{text}"' if re.fullmatch(r"[A-Za-z0-9 _./-]+", text) else repr(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells in which everything is escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
