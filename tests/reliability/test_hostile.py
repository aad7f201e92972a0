"""The short version of `python -m tests.reliability.hostile`: every thirtieth case of each kind, and some mutants."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")
def test_hostile_files_are_refused_and_do_nothing():
    # in a process of its own: forking from one in which torch has started threads could hang
    command = [sys.executable, "-m", "tests.reliability.hostile", "--every", "30", "--mutants", "16", "--untimed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
