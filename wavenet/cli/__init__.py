"""Command line: `wavenet train|generate|evaluate|...`; the scripts of the same names run the same commands."""

import os
import runpy
import sys

from wavenet import __version__
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
    if command is not None:
        del sys.argv[1 : 1 + len(command.split())]
        module = _MODULES.get(command, command.replace(" ", "_"))
        runpy.run_module(f"wavenet.cli.{module}", run_name="__main__", alter_sys=True)
        return
    usage = (
        "usage: wavenet train [dataset=vctk ...]\n"
        "       wavenet generate [checkpoint=RUN_OR_FILE seconds=2 speaker=NAME ...]\n"
        "       wavenet evaluate checkpoint=RUN_OR_FILE [dataset=vctk ...]\n"
        "       wavenet demo [checkpoint=RUN_OR_FILE port=7860 ...]\n"
        "       wavenet prepare dataset=NAME output=FOLDER [experiment=vocoder ...]\n"
        "       wavenet push checkpoint=RUN_OR_FILE repo=OWNER/NAME [private=true]\n"
        "       wavenet export onnx checkpoint=RUN_OR_FILE [output=FOLDER]\n"
        "       wavenet import checkpoint=FILE.pth [hparams=FILE.json output=FOLDER]\n"
        "       wavenet COMMAND --help lists all settings; wavenet --version"
    )
    argument = " ".join(sys.argv[1:2])
    if argument in ("-h", "--help"):
        print(usage)
        return
    if argument == "--version":
        print(f"wavenet {__version__}")
        return
    print(f"wavenet: '{argument}' is not a command{_meant(argument)}\n{usage}" if argument else usage, file=sys.stderr)
    sys.exit(2)


def _meant(argument: str) -> str:
    """Return a question with the command that was probably meant.

    >>> _meant("tain"), _meant("export"), _meant("xyz")
    ("; did you mean 'wavenet train'?", "; did you mean 'wavenet export onnx'?", '')
    """
    first_words = {command.split()[0]: command for command in COMMANDS}
    close = closest(argument, first_words)
    return f"; did you mean 'wavenet {first_words[close]}'?" if close else ""
