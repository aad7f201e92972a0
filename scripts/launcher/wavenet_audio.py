"""The command `wavenet`, under its distribution's name, wavenet-audio. Python programs `import wavenet`.

PyPI's `wavenet` is another project. Where it is installed, too, its package is imported in place of this one, or its
files lie among this one's. So this module is outside of the package, and looks before it imports anything of it.
"""

import sys
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

_HERE = Path(__file__).resolve()
_PACKAGE = _HERE.with_name("wavenet") if _HERE.parent.name != "launcher" else _HERE.parents[2] / "wavenet"


def main() -> None:
    """Run the command line `wavenet COMMAND ...`."""
    _end_if_not_ours()
    import_module("wavenet.cli").main()


def run(command: str) -> None:
    """Run a command as its script in `scripts/` does.

    Args:
        command: Name of its module in `wavenet.cli`.
    """
    _end_if_not_ours()
    import_module("wavenet.cli").run_script(command)


def _end_if_not_ours() -> None:
    reason = _not_ours_reason()
    if reason is not None:
        print(f"wavenet: {reason}", file=sys.stderr)
        sys.exit(2)


def _not_ours_reason() -> str | None:
    """Return why `import wavenet` gives something else than this installation's package, and the fix; None if not."""
    spec = find_spec("wavenet")
    found = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
    others = list(distributions(name="wavenet"))
    named = " and ".join(map(_in_words, others))
    if found == _PACKAGE:
        if not any(Path(str(each.locate_file("wavenet"))).resolve() == _PACKAGE for each in others):
            return None
        reason = f"{named} is installed, too, and its files are among those of this package in {_PACKAGE}"
    elif found is None:
        reason = f"{_PACKAGE} has no __init__.py, as after the uninstallation of another package of this name"
    elif others:
        reason = f"{found} is imported in place of {_PACKAGE}, and {named} is installed, too"
    else:
        return f"{found} is imported in place of {_PACKAGE}; rename it, or take its folder from PYTHONPATH"
    is_installed = (_PACKAGE / "share").is_dir()
    again = "install wavenet-audio again" if is_installed else f'pip install -e "{_PACKAGE.parent}"'
    return f"{reason}; run pip uninstall wavenet wavenet-audio, then {again}"


def _in_words(other: Distribution) -> str:
    summary = shorten(other.metadata["Summary"] or "without a summary", 100)
    return f"the distribution wavenet {other.version} ({summary})"
