"""Optional dependencies: the command that installs them."""

import os
import re
import shlex

from wavenet.package_data import checkout


def install_command(extra: str) -> str:
    """Return the shell command that adds an extra to this installation.

    In a checkout, installed or not, that is `pip install -e ".[hub]"`, or with the checkout's path where it is not the
    working directory. Else the distribution is installed, wherever it came from, and `pip install "wavenet-audio[hub]"`
    reads the extra's requirements from what is installed.

    Args:
        extra: Its name in pyproject.toml.
    """
    folder = checkout()
    if folder is None:
        return f'pip install "wavenet-audio[{extra}]"'
    try:
        here = folder.samefile(os.curdir)
    except OSError:  # the working directory was deleted
        here = False
    return f"pip install -e {_quoted(f'{os.curdir if here else folder}[{extra}]')}"


def _quoted(text: str) -> str:
    """Quote for the shell, as people do where that is enough."""
    return shlex.quote(text) if os.name == "posix" and re.search(r'["$`\\!]', text) else f'"{text}"'
