"""The options and settings of a command, as Hydra composes them, with the comments of their YAML files.

Nothing here imports torch or Lightning, so that help and completion do not take seconds.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from wavenet.cli.composition import hydra_in
from wavenet.cli.config_files import NO_COMMENT, Comment, comments, config_dir, summary

_FOR_EXPERIMENTS = {"prepare": ("optimizer", "trainer", "logger", "callbacks")}  # groups that are there for them only
_FLAGS = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # Hydra's with a value, and --multirun
for _flag, _short in (("config-dir", "cd"), ("config-name", "cn"), ("cfg", "c"), ("package", "p"), ("info", "i")):
    _FLAGS.add_argument(f"--{_flag}", f"-{_short}", nargs="?")
_FLAGS.add_argument("--multirun", "-m", action="store_true")


@dataclass(frozen=True)
class Group:
    """A group of options.

    Attributes:
        name: Its name on the command line, such as "model/distribution".
        comment: What it is for.
        options: What each option is for, by name.
        chosen: The chosen options: one, several if the command line may have a list, or none.
    """

    name: str
    comment: str
    options: dict[str, str]
    chosen: list[str]


@dataclass(frozen=True)
class Setting:
    """A setting, or a mapping that contains settings.

    Attributes:
        key: Its key, such as "model.kernel_size".
        value: Its value, with references as they are written.
        comment: What it is for.
        group: The name of the group whose options have it; "" for the command's own settings.
    """

    key: str
    value: Any
    comment: Comment
    group: str


@dataclass(frozen=True)
class Settings:
    """What a command line can set.

    Attributes:
        groups: The groups of options.
        settings: The command's own settings, then those of each group's chosen options, in the order of their files.
    """

    groups: list[Group]
    settings: list[Setting]


@dataclass(frozen=True)
class _File:
    """A YAML file of a composed config: a group's option, or the command's own, with "" for the group.

    Attributes:
        package: The key of the mapping that it fills; "" for all.
        comments: Its comments.
    """

    group: str
    option: str
    package: str
    comments: dict[str, Comment]


def settings_of(command: str, arguments: Sequence[str]) -> Settings:
    """Return what a command line can set, with the options and values that it has already.

    Args:
        command: The config's name, such as "train".
        arguments: The arguments, without the program's name.

    Raises:
        ValueError: If the folder of --config-dir does not exist.
        HydraException: If the config cannot be composed. Like those of OmegaConf, it is explained by
            `wavenet.cli.errors.explain_composition_error`.
    """
    flags, rest = _FLAGS.parse_known_args(arguments)
    name, overrides = flags.config_name or command, _overrides(flags, rest)
    with hydra_in(config_dir()):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration(name, overrides, RunMode.RUN)
        defaults = loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults
    folders = [Path(source.path) for source in cfg.hydra.runtime.config_sources if source.schema == "file"]
    files = list(_files(defaults, folders))
    written = _comments(files)
    groups = [
        each
        for each in _groups(files, cfg.hydra.runtime.choices, written, folders)
        if each.name.split("/")[0] not in _FOR_EXPERIMENTS.get(command, ())
    ]
    names = ["", *(each.name for each in groups)]
    homes = {file.package: file.group for file in files if file.package and file.group in names}
    tops = {key.split(".")[0] for file in files if not file.group for key in file.comments}
    tops = (tops | {key.split(".")[0] for key in homes}) - {"hydra"}
    composed = {key: value for key, value in _plain(cfg).items() if key in tops}
    found = sorted(_settings(composed, written, homes), key=lambda each: names.index(each.group))
    return Settings(groups, found)


def _overrides(flags: argparse.Namespace, rest: Iterable[str]) -> list[str]:
    """Return the overrides of a command line, without those of which a sweep has several values."""
    overrides = [each for each in rest if not each.startswith("-")]
    if flags.multirun:
        parsed = OverridesParser.create().parse_overrides(overrides)
        overrides = [text for text, each in zip(overrides, parsed, strict=True) if not each.is_sweep_override()]
    if flags.config_dir is not None:
        folder = Path(flags.config_dir).absolute()
        if not folder.is_dir():
            raise ValueError(f"Additional config directory '{folder}' not found")  # as Hydra without --help
        overrides.insert(0, f"hydra.searchpath=[{QuotedString(f'file://{folder}', Quote.single).with_quotes()}]")
    return overrides


def _files(defaults: Iterable[Any], folders: Sequence[Path]) -> Iterator[_File]:
    """Read the YAML files of a defaults list, except Hydra's own."""
    for each in defaults:
        group, _, option = each.config_path.rpartition("/")
        if group.split("/")[0] != "hydra":
            yield _File(group, option, each.package or "", comments(_read(each.config_path, folders)))


def _read(name: str, folders: Iterable[Path]) -> str:
    """Return the text of a YAML file in the first folder that has it; "" if it is elsewhere, such as in a package."""
    path = next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)
    with suppress(OSError):
        return "" if path is None else path.read_text(encoding="utf-8", errors="replace")
    return ""


def _groups(
    files: Sequence[_File], choices: Mapping[str, Any], written: Mapping[str, Comment], folders: Sequence[Path]
) -> Iterator[Group]:
    """Find the groups of a composed config, except Hydra's own."""
    keys = sorted((key for key in choices if not key.startswith("hydra/")), key=lambda key: "@" not in key)
    chosen = {key.split("@")[0]: choices[key] for key in keys}  # dataset goes before dataset@dataset.parts.NAME
    for name in _in_order([*(file.group for file in files), *chosen]):
        options = sorted({path.stem for folder in folders for path in (folder / name).glob("*.yaml")})
        loaded = [file.option for file in files if file.group == name]  # all of a list
        yield Group(
            name,
            written.get(f"defaults.{name}", NO_COMMENT).text,
            {option: summary(_read(f"{name}/{option}", folders)) for option in options},
            ([] if chosen[name] is None else [chosen[name]]) if name in chosen else loaded,
        )


def _in_order(groups: Iterable[str]) -> list[str]:
    """Return the names of groups in the order in which they come first, those within a group after it.

    >>> _in_order(["data", "model/context", "model", "", "log", "model"])
    ['data', 'model', 'model/context', 'log']
    """
    names = list(dict.fromkeys(filter(None, groups)))
    outer = [each.split("/")[0] for each in names]
    return sorted(names, key=lambda each: (outer.index(each.split("/")[0]), each.count("/")))


def _comments(files: Iterable[_File]) -> dict[str, Comment]:
    """Return the comments of all files: by key, or defaults.GROUP. The first file that has one for a key counts."""
    found: dict[str, Comment] = {}
    for file in files:
        for key, comment in file.comments.items():
            default = key.removeprefix("defaults.")
            if default != key:
                place = f"defaults.{file.group}/{default}" if file.group else key
            else:
                place = f"{file.package}.{key}" if file.package else key
            if not found.get(place, NO_COMMENT).text:
                found[place] = comment
    return found


def _plain(cfg: DictConfig) -> dict[str, Any]:
    settings = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def _settings(
    composed: Mapping[Any, Any], written: Mapping[str, Comment], homes: Mapping[str, str], before: str = ""
) -> Iterator[Setting]:
    """Walk a composed config, without classes, and without what only hands on another setting of the same name."""
    for name, value in composed.items():
        key = f"{before}{name}"
        package = max((each for each in homes if f"{key}.".startswith(f"{each}.")), key=len, default="")
        comment = written.get(key, NO_COMMENT)
        hands_on = isinstance(value, str) and re.fullmatch(rf"\$\{{[\w.]*\.{re.escape(str(name))}\}}", value)
        if str(name).startswith("_") or hands_on:
            continue
        if not isinstance(value, dict) or comment.text:
            yield Setting(key, value, comment, homes.get(package, ""))
        if isinstance(value, dict):
            yield from _settings(value, written, homes, f"{key}.")
