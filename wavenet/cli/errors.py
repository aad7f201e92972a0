"""One-line explanations of Hydra's errors about the command line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from wavenet.cli.composition import hydra_in
from wavenet.cli.config_files import program_name
from wavenet.cli.lightning_settings import refusal
from wavenet.cli.schema import type_of_setting
from wavenet.cli.validation import arguments_of
from wavenet.data.mix import in_part
from wavenet.names import closest

_KEY = re.compile(r"[+~]*([^=@]*)")


def explain_composition_error(error: Exception, command: str, folder: Path, overrides: Sequence[str]) -> str:
    """Explain why a config could not be composed.

    Args:
        error: The error that Hydra raised.
        command: The config's name.
        folder: The folder of the configs.
        overrides: The overrides on the command line.

    Returns:
        One line that names the override and, if one is similar, the setting that was probably meant.
    """
    first = str(error).strip().split("\n")[0]
    if isinstance(error, YAMLError):  # names the file, the line and the column
        return " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        reason = first.removeprefix(f"Error parsing override '{error.override}'") or error.message.split("\n")[1]
        return f"{error.override}: not readable as KEY=VALUE ({reason}); quote the value if it has special characters"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _explain_unknown_option(error.missing_cfg_file, folder, error.options)
    several = re.match(r"Ambiguous value for argument '([^']*)'", first)
    if several:
        return f"{several[1]}: several values; write KEY=[A,B] for a list, or add --multirun to run once with each"
    if command == "push" and any(_key(each) == "token" for each in overrides):  # the message must not show it
        return "token is not a setting, as other users see a command line; run hf auth login, or set HF_TOKEN"
    explained = _explain_group_error(first, folder, overrides) or _explain_key_error(first, command, folder, overrides)
    return explained or " ".join(str(error).split())


def explain_instantiation_error(error: InstantiationException) -> str:
    """Explain why an object could not be built, with the setting's key in place of the constructor's argument.

    Args:
        error: The error that `instantiate` raised.

    Returns:
        One line, such as "model.gate_channels is 3; it must be even" for an error of one of the model's classes.
    """
    target = re.search(r"target '([\w.]+)'", str(error))
    key = re.search(r"full_key: (\S+)", str(error))
    cause: BaseException = error
    while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
        cause = cause.__cause__
    message = str(cause).split("\nfull_key")[0].strip() or type(cause).__name__
    where = re.fullmatch(r"\w+: (([\w.]+) is .*)", message, re.DOTALL)
    if key is None:
        return message
    part = re.fullmatch(r"dataset\.parts\.([^.]+)", key[1])
    message = message if part is None else in_part(part[1], message)
    if where is None or target is None:
        return message if isinstance(cause, ValueError) else f"{key[1]}: {message}"
    known = arguments_of(get_class(target[1]))
    return f"{key[1]}.{where[1]}" if known and where[2].split(".")[0] in known else f"{key[1]}: {message}"


def _explain_group_error(message: str, folder: Path, overrides: Sequence[str]) -> str:
    """Explain Hydra's message about an option that is chosen twice, or where none can be; "" if it is another."""
    twice = re.search(r"dataset@(dataset\.parts\.[\w-]+)(?: appears more than once|\. To override)", message)
    if twice:
        return f"{twice[1]}: two parts have this name; give one of them another, +dataset@dataset.parts.NAME=DATASET"
    named = re.match(r"Could not override '([^']*[/@][^']*)'", message)
    override = next((each for each in overrides if named and each.startswith(f"{named[1]}=")), None)
    if named is None or override is None:
        return ""
    if "@" in named[1]:
        return f"{override}: nothing is chosen there yet; write +{override}"
    owners = " or ".join(_options_with(folder, named[1]))
    return f"{override}: it belongs to an option that is not chosen; choose {owners}" if owners else ""


def _explain_key_error(message: str, command: str, folder: Path, overrides: Sequence[str]) -> str:
    """Explain Hydra's message about a key; "" if it is not about one."""
    named = re.search(r"(override|append|delete).*'([^']*)'", message)
    if named is None:
        return _explain_unreadable_option(folder, overrides)
    key = named[2]
    if refused := refusal(key):
        return refused
    override = next((each for each in reversed(overrides) if _key(each) == key), key)
    if named[1] == "append":
        return f"{override}: the setting exists already; remove the +"
    if type_of_setting(command, key) is not None:
        return (
            f"{override}: it belongs to an option that is not chosen; choose that option, or add the setting to this "
            f"one with +{override}"
        )
    groups = {str(path.parent.relative_to(folder)) for path in folder.glob("*/**/*.yaml")}
    chosen = _composed(command, folder, [each for each in overrides if _key(each) in groups])
    meant = closest(key, groups | _keys(OmegaConf.to_container(chosen)))
    hint = f"did you mean {meant}?" if meant else f"{program_name(command)} --help lists all"
    return f"{override}: there is no such setting; {hint}"


def _explain_unreadable_option(folder: Path, overrides: Sequence[str]) -> str:
    """Explain that a group's value is not a name: Hydra does not report which."""
    for each in overrides:
        if each.startswith("="):
            return f"{each}: does not name a setting; write KEY=VALUE"
        known = _options(folder, _key(each))
        if known and each.partition("=")[2] not in known:
            return f"{each}: there is no such option; known are {', '.join(known)}"
    return ""


def _explain_unknown_option(missing: str, folder: Path, options: Sequence[str] | None) -> str:
    group, _, name = missing.rpartition("/")
    known = sorted(options or _options(folder, group))
    meant = closest(name, known)
    hint = f"did you mean {group}={meant}? " if meant else ""
    override = f"{group}={name}" if group else name
    return f"{override}: there is no such option; {hint}known are {', '.join(known)}"


def _composed(command: str, folder: Path, overrides: Sequence[str]) -> DictConfig:
    """Compose the config with the overrides; without them if they contain another mistake."""
    with hydra_in(folder):
        try:
            return compose(command, list(overrides))
        except Exception:  # another mistake, which is reported once this one is fixed
            return compose(command)


def _keys(settings: Any, group: str = "") -> set[str]:
    """Return all keys, including those inside groups."""
    keys: set[str] = set()
    for key, value in settings.items():
        keys.add(f"{group}{key}")
        if isinstance(value, dict):
            keys |= _keys(value, f"{group}{key}.")
    return keys


def _key(override: str) -> str:
    found = _KEY.match(override)
    assert found is not None
    return found[1]


def _options_with(folder: Path, group: str) -> list[str]:
    """Return the options of the group above whose defaults have a group, such as "dataset=mix" for "dataset/parts"."""
    above, _, name = group.rpartition("/")
    default = re.compile(rf"^ +- {name}:", re.MULTILINE)
    texts = {each: (folder / above / f"{each}.yaml").read_text(encoding="utf-8") for each in _options(folder, above)}
    return [f"{above}={option}" for option, text in texts.items() if default.search(text)]


def _options(folder: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (folder / group).glob("*.yaml"))
