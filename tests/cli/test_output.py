"""A command whose output cannot be written ends as other programs do, or says why."""

import os
import subprocess
import sys
import warnings

import pytest

import wavenet
from tests.conftest import ROOT
from wavenet.cli.command import plain_warnings

pytestmark = pytest.mark.slow
CONSOLE = [sys.executable, "-c", "from wavenet.cli import main; main()"]
SCRIPTS = {name: [sys.executable, str(ROOT / "scripts" / f"{name}.py")] for name in ("train", "generate", "benchmark")}
GENERATE = [*SCRIPTS["generate"], "checkpoint=saved", "seconds=0.01", "backend=reference"]


def ended(command, stdout, buffered=True):
    """Run a command with an output, as it runs by default or, as in many containers, without a buffer."""
    environment = os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, env=environment)


@pytest.mark.parametrize(
    ("command", "buffered"),
    [
        *(
            ([*CONSOLE, *words], buffered)
            for words in (["--help"], ["--version"], ["completion", "bash"], ["__complete", ""], ["train", "--help"])
            for buffered in (True, False)
        ),
        ([*SCRIPTS["train"], "--help"], True),
        ([*SCRIPTS["train"], "--cfg", "job"], False),
        ([*SCRIPTS["benchmark"], "--help"], True),
        (GENERATE, True),
    ],
    ids=lambda value: " ".join(value[2:4]) if isinstance(value, list) else "",
)
def test_an_output_that_nobody_reads(in_tmp, small, command, buffered):
    if command is GENERATE:
        wavenet.save(small(), "saved")
    read_end, write_end = os.pipe()
    os.close(read_end)
    end = ended(command, write_end, buffered)
    os.close(write_end)
    assert end.returncode == 141 and "Broken" not in end.stderr and "Traceback" not in end.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("command", "program"),
    [
        (GENERATE, "wavenet generate"),
        ([*SCRIPTS["generate"], "--help"], "wavenet generate"),
        ([*CONSOLE, "--version"], "wavenet"),
    ],
    ids=["generate", "help", "version"],
)
def test_an_output_that_is_full_is_named(in_tmp, small, command, program):
    wavenet.save(small(), "saved")
    with open("/dev/full", "wb") as full:
        end = ended(command, full)
    assert end.returncode == 2
    assert "Traceback" not in end.stderr
    assert end.stderr.endswith(
        f"{program}: standard output: No space left on device; delete something there, or write elsewhere\n"
    )


def test_a_warning_for_the_user_is_a_line_without_the_code_that_raised_it():
    with plain_warnings():
        assert warnings.formatwarning("it is slow", UserWarning, "a.py", 3) == "warning: it is slow\n"
        assert "a.py:3: DeprecationWarning: old" in warnings.formatwarning("old", DeprecationWarning, "a.py", 3)
    assert "a.py:3: UserWarning: it is slow" in warnings.formatwarning("it is slow", UserWarning, "a.py", 3)
