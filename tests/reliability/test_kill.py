import random

from tests.reliability.kill import ONE, Tally, faults, killed, undisturbed


def test_a_run_that_is_killed_ends_as_an_undisturbed_one(tmp_path):
    settings = [*ONE, "trainer.max_steps=80", "logger=csv"]
    expected, tally = undisturbed(settings, tmp_path / "whole"), Tally()
    killed(settings, tmp_path / "killed", random.Random(7), 2, tally)
    assert tally.kills == 2
    assert tally.faults + faults(expected, tmp_path / "killed") == []
