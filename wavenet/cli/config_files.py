"""The YAML files of settings, and their comments, which YAML libraries leave out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import yaml

from wavenet.package_data import package_folder

_PACKAGE = re.compile(r"#\s*@package\b")  # Hydra's
_BESIDE = re.compile(r"\s*:?\s+#")


@dataclass(frozen=True)
class Comment:
    """What a YAML file says of a setting, or of a group of settings.

    Attributes:
        text: The comment beside it, in one line; "" if there is none.
        block: The comment above it, or "" if a blank line is there; None if it belongs to the settings above it, or is
            the first one.
    """

    text: str
    block: str | None


NO_COMMENT = Comment("", None)


def config_dir() -> Path:
    """Return the folder of configs: inside an installed package, or beside it in a checkout."""
    return package_folder("configs")


def config_name(command: str) -> str:
    """Return the name of a command's config.

    >>> config_name("export onnx")
    'export_onnx'
    """
    return command.replace(" ", "_")


def program_name(config: str) -> str:
    """Return what is typed to run the command of a config.

    >>> program_name("export_onnx")
    'wavenet export onnx'
    """
    return f"wavenet {config.replace('_', ' ')}"


def introduction(text: str) -> list[str]:
    r"""Return the lines of the comment at the top of a YAML file.

    >>> introduction("# @package _global_\n# A vocoder.\nlr: 1  # low\n")
    ['A vocoder.']
    """
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.removeprefix("#").removeprefix(" ") for line in lines if not _PACKAGE.match(line)]


def summary(text: str) -> str:
    r"""Return the first sentence of the comment at the top of a YAML file; "" if there is no comment.

    >>> summary("# Adam, with decoupled\n# weight decay. See the paper.\nlr: 1\n")
    'Adam, with decoupled weight decay.'
    """
    paragraph = " ".join(takewhile(bool, introduction(text)))
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]


def comments(text: str) -> dict[str, Comment]:
    r"""Return the comments of a YAML file's settings, by key; those of its defaults list have the key defaults.GROUP.

    >>> comments("model:  # the network\n  size: 3  # layers,\n           # at least 1")
    {'model': Comment(text='the network', block=None), 'model.size': Comment(text='layers, at least 1', block=None)}
    """
    return dict(_comments(yaml.compose(text, yaml.SafeLoader), "", text.splitlines()))


def _comments(node: yaml.Node | None, before: str, lines: list[str]) -> Iterator[tuple[str, Comment]]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _comments(item, before, lines)
    elif isinstance(node, yaml.MappingNode):
        previous = "defaults"
        for key, value in node.value:
            in_lines = isinstance(value, yaml.CollectionNode) and not value.flow_style
            is_alias = value.end_mark.index < key.end_mark.index
            end = key.end_mark if in_lines or is_alias else value.end_mark
            block = None if previous == "defaults" else _block(lines, key.start_mark)
            yield f"{before}{key.value}", Comment(_beside(lines, end.line, end.column), block)
            previous = key.value
            yield from _comments(value, f"{before}{key.value}.", lines)


def _beside(lines: list[str], line: int, column: int) -> str:
    """Return the comment that begins at a place, with its further lines, whose # is below the first one's."""
    if line >= len(lines) or _BESIDE.match(lines[line], column) is None:
        return ""
    column = lines[line].index("#", column)
    below = takewhile(lambda each: each.find("#") == column and not each[:column].strip(), lines[line + 1 :])
    return " ".join(each[column + 1 :].strip() for each in (lines[line], *below))


def _block(lines: list[str], start: yaml.Mark) -> str | None:
    """Return `Comment.block` of the setting whose key starts at a place."""
    first = start.line
    while first and lines[first - 1].find("#") == start.column and not lines[first - 1][: start.column].strip():
        first -= 1
    if first == start.line and (first == 0 or lines[first - 1].strip()):
        return None
    return " ".join(line.strip().removeprefix("#").strip() for line in lines[first : start.line])
