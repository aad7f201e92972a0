"""Values of the command line that are names, paths or text, quoted so that Hydra takes them as typed.

Hydra's grammar reads `1_2` as the number 12, and refuses `take (1)`. Here the values of settings whose type in
`wavenet.cli.schema` is text are put into Hydra's own quotes before it sees them. Other values are left alone.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from wavenet.cli.literal import literal
from wavenet.cli.schema import PATH, type_of_setting
from wavenet.types import AnyOf, Dictionary, ListOf, Text, ValueType

_OVERRIDE = re.compile(r"(\+{0,2}([\w.*-]+)=)(.+)", re.DOTALL)
_QUOTED = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*""", re.DOTALL)
_PIECE = re.compile(r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^]]*]|\{[^}]*}|[^,])*""", re.DOTALL)
_SWEEP = re.compile(r"\s*(?:choice|range|interval|glob|shuffle|sort|tag)\(.*\)\s*", re.DOTALL)
_INTERPOLATED = ("run_dir", "output", "preparation.cache_dir", "logger.save_dir")
_SWEEPS = {"-m", "--multirun"}


def quoted(command: str, arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with the values of text settings in Hydra's quotes.

    Values that are quoted already, and `null`, stay as they are. A setting that takes a list may have one in brackets,
    whose items are quoted; with --multirun, commas separate values. `${...}` is literal, except in settings that say
    where something is written, such as run_dir. A path that begins with ~/ is in the home folder.

    Args:
        command: The config's name, such as "generate".
        arguments: The arguments, without the program's name.
    """
    sweep = not _SWEEPS.isdisjoint(arguments)
    return [_override(command, argument, sweep) for argument in arguments]


def _override(command: str, argument: str, sweep: bool) -> str:
    found = _OVERRIDE.fullmatch(argument)
    kind = None if found is None else type_of_setting(command, found[2])
    if found is None or kind is None:
        return argument
    kinds = set(_kinds(kind))
    if not any(isinstance(each, Text | Dictionary) for each in kinds | set(_items(kinds))):
        return argument
    if sweep and _SWEEP.fullmatch(found[3]):
        return argument
    values = _pieces(found[3]) if sweep else [found[3]]
    return found[1] + ",".join(_value(value, kinds, found[2] in _INTERPOLATED) for value in values)


def _value(value: str, kinds: Iterable[ValueType], interpolated: bool) -> str:
    """Quote a value of one of several types, or the items of a list or dictionary."""
    kinds = set(kinds)
    items, stripped = set(_items(kinds)), value.strip()
    if stripped == "null" or _QUOTED.fullmatch(value):
        return value
    if items and stripped.startswith("[") and stripped.endswith("]"):
        return f"[{','.join(_value(item, items, False) for item in _pieces(stripped[1:-1]))}]"
    if any(isinstance(each, Dictionary) for each in kinds):
        return _dictionary(stripped) if stripped.startswith("{") and stripped.endswith("}") else value
    others = [each for each in kinds if not isinstance(each, Text | ListOf)]
    if not any(isinstance(each, Text) for each in kinds) or any(each.accepts(_number(value)) for each in others):
        return value
    if PATH in kinds and re.match(r"~(/|$)", value):
        value = str(Path.home()) + value[1:]
    return QuotedString(value if interpolated else literal(value), Quote.single).with_quotes()


def _dictionary(value: str) -> str:
    """Quote the values of a dictionary of names."""
    name = Text("a name")
    kinds = (name, ListOf(name, 0, 1, ""))
    pairs = [piece.partition(":") for piece in _pieces(value[1:-1])]
    return "{" + ",".join(f"{key}{colon}{_value(each.strip(), kinds, False)}" for key, colon, each in pairs) + "}"


def _pieces(text: str) -> list[str]:
    """Split at the commas that are not inside quotes or brackets, and trim the pieces.

    >>> _pieces("ann, 'Smith, John'"), _pieces("")
    (['ann', "'Smith, John'"], [])
    """
    pieces, start = [], 0
    while start < len(text):
        found = _PIECE.match(text, start)
        assert found is not None
        pieces.append(found[0].strip())
        start = found.end() + 1
    return pieces


def _kinds(kind: ValueType) -> Iterator[ValueType]:
    if isinstance(kind, AnyOf):
        for each in kind.kinds:
            yield from _kinds(each)
    else:
        yield kind


def _items(kinds: Iterable[ValueType]) -> Iterator[ValueType]:
    for kind in kinds:
        if isinstance(kind, ListOf):
            yield from _kinds(kind.kind)


def _number(value: str) -> Any:
    return int(value) if re.fullmatch(r"\d{1,18}", value) else value
