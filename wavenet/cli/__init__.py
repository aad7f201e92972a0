"""Command line: `wavenet train|generate|evaluate|...`; the scripts of the same names run the same commands."""

import os
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module

from wavenet import __version__
from wavenet.cli.config_files import config_dir, config_name, summary
from wavenet.cli.output import checked_output
from wavenet.names import closest

# How often GNU's OpenMP looks for work before a thread sleeps; the default is a hundred times as often, which keeps
# cores from the native threads. It is read when torch is loaded, so it is set before.
SPIN_COUNT = {"GOMP_SPINCOUNT": "3000"}
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:  # the user's
    os.environ.update(SPIN_COUNT)

COMMANDS = ("train", "generate", "evaluate", "demo", "prepare", "push", "export onnx", "import")
_MODULES = {"import": "import_"}  # a keyword cannot be a module's name


def main() -> None:
    """Run a command as `python -m wavenet.cli.COMMAND` would, with its own Hydra configuration."""
    command = next((each for each in COMMANDS if sys.argv[1 : 1 + len(each.split())] == each.split()), None)
    if command is None:
        with checked_output("wavenet"):
            _run_without_settings(sys.argv[1:])
        return
    del sys.argv[1 : 1 + len(command.split())]
    if not _show_help(command):
        runpy.run_module(_module_of(command), run_name="__main__", alter_sys=True)


def run_script(command: str) -> None:
    """Run a command for its script, which remains the main module of the processes that the command starts."""
    if not _show_help(command):
        import_module(_module_of(command)).main()


def _module_of(command: str) -> str:
    return f"wavenet.cli.{_MODULES.get(command, config_name(command))}"


def _show_help(command: str) -> bool:
    from wavenet.cli.help import show_help  # noqa: PLC0415  Hydra, which this file does not need otherwise

    return show_help(config_name(command), sys.argv[1:])


def _run_without_settings(arguments: Sequence[str]) -> None:
    """Run what is no Hydra command, or print all commands."""
    match arguments:
        case ["-h" | "--help", *_]:
            print(_usage())
        case ["--version", *_]:
            print(f"wavenet {__version__}")
        case ["completion" | "__complete" as task, *words]:
            from wavenet.cli import completion  # noqa: PLC0415  likewise

            if task == "completion":
                completion.main(words)
            else:
                completion.complete(words, _described())
        case _:
            argument = " ".join(arguments[:1])
            mistake = f"wavenet: '{argument}' is not a command{_meant(argument)}\n" if argument else ""
            print(f"{mistake}{_usage()}", file=sys.stderr)
            sys.exit(2)


def _usage() -> str:
    rows = "\n".join(f"  {command:<13}{text}" for command, text in _described().items())
    return (
        f"usage: wavenet COMMAND [SETTING=VALUE ...]\n\n{rows}\n\n"
        "wavenet COMMAND --help shows examples and all settings; wavenet --version"
    )


def _described() -> dict[str, str]:
    """Return all commands, with what they are for."""
    files = {command: config_dir() / f"{config_name(command)}.yaml" for command in COMMANDS}
    described = {command: summary(path.read_text(encoding="utf-8")) for command, path in files.items()}
    return described | {"completion": "Print a script with which a shell completes all this."}


def _meant(argument: str) -> str:
    """Return a question with the command that was probably meant.

    >>> _meant("tain"), _meant("export"), _meant("xyz")
    ("; did you mean 'wavenet train'?", "; did you mean 'wavenet export onnx'?", '')
    """
    first_words = {command.split()[0]: command for command in _described()}
    close = closest(argument, first_words)
    return f"; did you mean 'wavenet {first_words[close]}'?" if close else ""
