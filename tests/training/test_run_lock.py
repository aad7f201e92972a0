"""One process at a time trains a run."""

import os
import subprocess
import sys

import pytest

from tests.conftest import TINY
from wavenet.training import hold


def test_the_second_is_told_who_holds_it(run, in_tmp, speech):
    data = ["dataset=folder", f"dataset.root={speech}", "logger=none"]
    run("train", *TINY, *data, "run_dir=r")
    before = {path: path.read_bytes() for path in in_tmp.joinpath("r").rglob("*") if path.is_file()}
    with hold(in_tmp / "r"):
        for setting in ("resume=r", "resume=r/checkpoints/last.ckpt"):
            with pytest.raises(
                AssertionError, match=rf"(?s)exit 2\n.*r is being trained by process {os.getpid()}; wait"
            ):
                run("train", setting, "trainer.max_steps=4")
        assert {path: path.read_bytes() for path in before} == before
    assert "done     4 steps" in run("train", "resume=r", "trainer.max_steps=4")
    assert "done     6 steps" in run("train", "resume=r", "trainer.max_steps=6")


@pytest.mark.slow
def test_a_killed_holders_lock_is_taken_over(tmp_path):
    code = f"from pathlib import Path; from wavenet.training import hold; held = hold(Path({str(tmp_path)!r}))"
    code += "; held.__enter__(); print('held', flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"is being trained by process {process.pid}; wait"), hold(tmp_path):
            pass
        process.kill()
    with hold(tmp_path):
        assert os.listdir(tmp_path) == []
