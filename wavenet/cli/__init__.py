"""The command line: `wavenet train|generate|evaluate|demo|push`, the same as the scripts."""

import runpy
import sys

COMMANDS = ("train", "generate", "evaluate", "demo", "push")


def main() -> None:
    """Run a command as `python -m wavenet.cli.COMMAND` would, with its own Hydra configuration."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in COMMANDS:
        del sys.argv[1]
        runpy.run_module(f"wavenet.cli.{asked}", run_name="__main__", alter_sys=True)
        return
    usage = (
        "usage: wavenet train [dataset=vctk ...]\n"
        "       wavenet generate checkpoint=RUN_OR_FILE [seconds=2 speaker=NAME ...]\n"
        "       wavenet evaluate checkpoint=RUN_OR_FILE [dataset=vctk ...]\n"
        "       wavenet demo checkpoint=RUN_OR_FILE [port=7860 ...]\n"
        "       wavenet push checkpoint=RUN_OR_FILE repo=OWNER/NAME [private=true]\n"
        "       wavenet COMMAND --help lists all settings"
    )
    if asked in ("-h", "--help"):
        print(usage)
        return
    print(f"wavenet: '{asked}' is no command\n{usage}" if asked else usage, file=sys.stderr)
    sys.exit(2)
