"""The text of `wavenet COMMAND --help`: examples, options and settings, from the YAML files and their comments."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wavenet.cli.config_files import config_dir, introduction, program_name
from wavenet.cli.output import checked_output
from wavenet.cli.settings import Group, Setting, Settings, settings_of
from wavenet.names import one_line

FLAGS = {
    "--help": "prints this, for the options that the same line chooses",
    "--cfg job": "prints all settings with their values, and runs nothing",
    "-m": "runs once with each of the values A and B of KEY=A,B",
    "--config-dir DIR": "reads further options, your own, in DIR/GROUP/OPTION.yaml",
    "--hydra-help": "prints Hydra's other flags",
}
_VALUES = (
    "A value is a number, true, false, null, a text, or a list such as KEY=[A,B]. The shell needs quotes around spaces "
    "and special characters: 'KEY=[A, B]'. +KEY=VALUE adds a setting that is not listed, ~KEY leaves one out. With "
    "HYDRA_FULL_ERROR=1 in the environment, an error has its traceback."
)
_COLUMN = 32  # of the comments
_NARROWEST, _WIDEST = 60, 110


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether a command's arguments ask for its help."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def show_help(command: str, arguments: Sequence[str]) -> bool:
    """Print a command's help if its arguments ask for it, unless there is a mistake in them: the command explains it.

    Args:
        command: The config's name, such as "train".
        arguments: The arguments, without the program's name.

    Returns:
        Whether it was printed.
    """
    if not asks_for_help(arguments):
        return False
    try:
        text = help_text(command, arguments)
    except Exception:
        return False
    with checked_output(program_name(command)):
        print(text)
    return True


def help_text(command: str, arguments: Sequence[str]) -> str:
    """Return a command's help, in lines that fit the terminal.

    Args:
        command: The config's name, such as "train".
        arguments: The arguments, without the program's name; their options and values are the ones that are shown.

    Raises:
        ValueError: As `settings_of`; likewise Hydra's and OmegaConf's exceptions.
    """
    found = settings_of(command, arguments)
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    chosen = "chosen" if any("=" in each for each in arguments) else "default"
    usage = f"usage: {program_name(command)}{' [GROUP=OPTION ...]' if found.groups else ''} [SETTING=VALUE ...]"
    about = introduction((config_dir() / f"{command}.yaml").read_text(encoding="utf-8"))
    lines = [usage, "", *about, *_options(found.groups, chosen, width), *_settings(found, width)]
    lines += ["", "Flags", "", *_rows(FLAGS.items(), width), "", *textwrap.wrap(_VALUES, width)]
    return "\n".join(lines)


def _options(groups: Iterable[Group], chosen: str, width: int) -> Iterator[str]:
    for group in groups:
        title = f"{group.name}=OPTION" + (f": {group.comment}" if group.comment else "")
        yield from ("", *textwrap.wrap(title, width), "")
        marks = {option: f"{option} ({chosen})" for option in group.chosen}
        yield from _rows([(marks.get(option, option), text) for option, text in group.options.items()], width)


def _settings(found: Settings, width: int) -> Iterator[str]:
    chosen = {group.name: f"{group.name}={','.join(group.chosen)}" for group in found.groups}
    group = None
    for setting in found.settings:
        if setting.group != group:
            group = setting.group
            yield from ("", f"Settings of {chosen[group]}" if group else "Settings", "")
        elif setting.comment.block is not None:
            yield from ("", *textwrap.wrap(setting.comment.block, width, initial_indent="  ", subsequent_indent="  "))
        yield from _rows([_row(setting)], width)


def _row(setting: Setting) -> tuple[str, str]:
    text = setting.comment.text
    if isinstance(setting.value, dict):
        return f"{setting.key}:", text
    if setting.value == "???":
        return f"{setting.key}=VALUE", f"required: {text}"
    return f"{setting.key}={written(setting.value)}", text


def written(value: Any) -> str:
    """Return a value as it is written on the command line.

    >>> written(None), written(True), written(["a", 1.5]), written("")
    ('null', 'true', '[a,1.5]', '""')
    """
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {written(each)}" for key, each in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return one_line(str(value)) or '""'


def _rows(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield rows of a label and a text beside it; the text begins below a label that is too long."""
    for label, text in rows:
        lines = textwrap.wrap(text, width - _COLUMN, break_on_hyphens=False) or [""]
        if len(label) + 4 > _COLUMN:
            yield f"  {label}"
        else:
            yield f"  {label:<{_COLUMN - 2}}{lines.pop(0)}".rstrip()
        yield from (" " * _COLUMN + line for line in lines if line)
