"""`wavenet completion`: a script with which bash, zsh or fish complete command lines.

The scripts ask `wavenet __complete WORD ...` how the last word may go on. It prints a candidate per line, with a tab
before its description, or `:files` where a path belongs.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

from wavenet.cli.config_files import config_name
from wavenet.cli.help import FLAGS
from wavenet.cli.output import end
from wavenet.cli.settings import Settings, settings_of

FILES = ":files"
PATHS = {  # the last parts of the keys whose values are paths
    "cache_dir", "checkpoint", "hparams", "init_from", "manifest", "mel", "mel_from", "output", "prompt", "resume",
    "root", "run_dir", "save_dir",
}  # fmt: skip
_USAGE = """\
usage: wavenet completion bash|zsh|fish

Prints a script with which the shell completes commands, options, settings and
files of wavenet. To have it in every shell:

  bash    echo 'eval "$(wavenet completion bash)"' >> ~/.bashrc
  zsh     echo 'eval "$(wavenet completion zsh)"' >> ~/.zshrc  # below compinit
  fish    wavenet completion fish > ~/.config/fish/completions/wavenet.fish"""
_BASH = r"""
_wavenet() {
    local line=${COMP_LINE:0:COMP_POINT} prefix= candidate current
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]}-1]}
    if [[ $current == *=* && $COMP_WORDBREAKS == *=* ]]; then  # bash replaces what is behind the =
        prefix=${current%"${current##*=}"}
    fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ $candidate == :files ]]; then
            compopt -o default 2> /dev/null
        else
            candidate=${candidate%%$'\t'*}
            COMPREPLY+=("${candidate#"$prefix"}")
        fi
    done < <("$1" __complete "${words[@]:1}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && (${COMPREPLY[0]} == *[=.] || ${COMPREPLY[0]} == \[*) ]]; then  # there is more
        compopt -o nospace 2> /dev/null
    fi
}
complete -F _wavenet wavenet
"""
_ZSH = r"""
_wavenet() {
    local line candidate
    local -a open ended
    for line in "${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}"; do
        candidate=${line%%$'\t'*}
        if [[ $line == :files ]]; then
            compset -P '*='
            _files
        elif [[ $candidate == *[=.] || $candidate == *\[* ]]; then
            open+=("${line/$'\t'/:}")
        elif [[ -n $line ]]; then
            ended+=("${line/$'\t'/:}")
        fi
    done
    _describe -V setting open -S ''
    _describe -V value ended
}
compdef _wavenet wavenet
"""
_FISH = r"""
function __wavenet_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..] "$current" 2> /dev/null)
        if test "$line" = :files
            set -l key (string match -r '^[^=]*=' -- "$current")
            set -l value (string replace -- "$key" '' "$current")
            for path in (__fish_complete_path "$value")
                echo "$key$path"
            end
        else
            echo $line
        end
    end
end
complete -c wavenet -f -a '(__wavenet_complete)'
"""
_VALUES_OF_FLAGS = {"--cfg": ("job", "hydra", "all"), "--config-dir": (FILES,)}
_SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def main(arguments: Sequence[str]) -> None:
    """Print the script for the shell that the arguments of `wavenet completion` name, or how to use it."""
    match arguments:
        case [shell] if shell in _SHELLS:
            print(_SHELLS[shell].strip())
        case ["-h" | "--help", *_]:
            print(_USAGE)
        case []:
            print(_USAGE, file=sys.stderr)
            sys.exit(2)
        case _:
            end("wavenet completion", f"{' '.join(arguments)}: no such shell; known are {', '.join(_SHELLS)}")


def complete(words: Sequence[str], commands: Mapping[str, str]) -> None:
    """Print what the scripts ask for.

    Args:
        words: The words of the command line after `wavenet`, of which the last one is to be completed.
        commands: All commands, with their descriptions.
    """
    for candidate, description in candidates(words, commands).items():
        print(f"{candidate}\t{description}" if description else candidate)


def candidates(words: Sequence[str], commands: Mapping[str, str]) -> dict[str, str]:
    """Return all candidates for the last one of the words, with their descriptions; see `complete`."""
    *before, current = (word.strip("'\"") for word in words or [""])
    command = next((each for each in commands if before[: len(each.split())] == each.split()), None)
    if command is None:
        at = len(before)
        found = {each.split()[at]: text for each, text in commands.items() if each.split()[:at] == before}
    elif command == "completion":
        found = dict.fromkeys(_SHELLS, "")
    else:
        found = _arguments(config_name(command), before[len(command.split()) :], current)
    return {each: text for each, text in found.items() if each == FILES or each.startswith(current)}


def _arguments(command: str, before: Sequence[str], current: str) -> dict[str, str]:
    """Return candidates for an argument of a command: flags, keys, or values of one key."""
    key, equals, value = current.partition("=")
    if before and before[-1] in _VALUES_OF_FLAGS:
        return dict.fromkeys(_VALUES_OF_FLAGS[before[-1]], "")
    if current.startswith("-"):
        return {flag.split()[0]: text for flag, text in FLAGS.items()}
    found = _settings(command, before)
    if not equals:
        return _keys(found, current)
    head = value[: max(value.rfind("["), value.rfind(",")) + 1]  # of a list, what is there already
    return {each if each == FILES else f"{key}={head}{each}": text for each, text in _values(found, key).items()}


def _settings(command: str, arguments: Sequence[str]) -> Settings:
    """Return what a command line can set; if there is a mistake in it, by its flags and options, or by itself."""
    flags_and_options = [
        each
        for previous, each in pairwise(["", *arguments])
        if each.startswith("-") or previous.startswith("-") or re.fullmatch(r"[\w/]+=.*", each)
    ]
    for attempt in (arguments, flags_and_options):
        with suppress(Exception):
            return settings_of(command, attempt)
    return settings_of(command, [])


def _keys(found: Settings, current: str) -> dict[str, str]:
    """Return the keys that can follow: whole ones with =, others up to the next dot."""
    keys = {f"{group.name}=": group.comment for group in found.groups}
    for setting in found.settings:
        dot = setting.key.find(".", len(current))
        if dot >= 0:
            keys.setdefault(setting.key[: dot + 1], "")
        elif not isinstance(setting.value, dict):
            keys[f"{setting.key}="] = setting.comment.text
    return keys


def _values(found: Settings, key: str) -> dict[str, str]:
    """Return the values of a key that are known: a group's options, true and false, and files."""
    for group in found.groups:
        if group.name == key:
            return group.options
    value = next((each.value for each in found.settings if each.key == key), None)
    if key.rpartition(".")[2] in PATHS:
        return {FILES: ""}
    return dict.fromkeys(("true", "false"), "") if isinstance(value, bool) else {}
