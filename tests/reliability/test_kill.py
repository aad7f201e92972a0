import random

import pytest

from tests.reliability.kill import ONE, Tally, faults, killed, training_seconds, undisturbed

pytestmark = pytest.mark.slow


def test_a_run_that_is_killed_ends_as_an_undisturbed_one(tmp_path):
    settings = [*ONE, "trainer.max_steps=80", "logger=csv"]
    expected, tally, rng = undisturbed(settings, tmp_path / "whole"), Tally(), random.Random(7)
    while tally.kills < 2:  # a fast machine may be done before a kill that was due late; then there is another run
        run = tmp_path / f"killed-{tally.runs}"
        killed(settings, run, rng, 2 - tally.kills, tally, training_seconds(expected))
        assert tally.faults == []
        assert faults(expected, run) == []
