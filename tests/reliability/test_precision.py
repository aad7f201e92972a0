"""The short version of `python -m tests.reliability.precision`, and that it would see what it looks for."""

import pytest
import torch

from tests.conftest import TINY
from tests.reliability.precision import PLAIN, WAYS, Experiment, Run, Way, failures, quiet
from wavenet.training import WaveNetTraining

pytestmark = pytest.mark.slow

QUICK = ["optimizer.warmup_steps=0", "optimizer.lr=0.01"]
OTHERS = {name: way for name, way in WAYS.items() if way.is_rounding}


@pytest.fixture
def experiment(tmp_path, speech):
    return Experiment(30, 400, tmp_path / "cache", [*TINY, *QUICK, "dataset=folder", f"dataset.root={speech}"])


@pytest.mark.filterwarnings("ignore")
def test_bf16_and_float32_learn_the_same(experiment):
    quiet()
    plain = experiment.run(WAYS[PLAIN], OTHERS)
    assert len(plain.losses) == 30 and plain.losses[-1] < plain.losses[0] - 0.1
    assert experiment.run(WAYS[PLAIN]).losses == plain.losses  # following others leaves no trace
    for name, way in OTHERS.items():
        run = experiment.run(way)
        assert failures(way, name, run, plain, 0.02) == []
        assert run.losses != plain.losses and max(plain.apart[name]) > 0  # it was computed otherwise


@pytest.mark.filterwarnings("ignore")
def test_another_loss_is_seen(experiment, monkeypatch):
    quiet()
    given = WaveNetTraining._plain_log_prob

    def wrong(self, waveform, condition):
        log_prob = given(self, waveform, condition)
        return log_prob * 1.05 if torch.is_autocast_enabled("cpu") else log_prob

    monkeypatch.setattr(WaveNetTraining, "_plain_log_prob", wrong)
    way = {"bf16": Way("bf16-mixed", loss=0.01, gradient=0.04)}
    plain = experiment.run(WAYS[PLAIN], way)
    found = failures(way["bf16"], "bf16", plain, plain, 0.02)
    assert [line.split(" is ")[0] for line in found] == [f"at the same weights the {w}" for w in ("loss", "gradient")]


def test_runs_that_part_are_seen():
    way = WAYS["bf16-mixed"]
    plain = Run([5.0] * 8, 5.0, 1.0, {"bf16-mixed": (0.0, 0.0)})
    assert failures(way, "bf16-mixed", Run([9.0] * 6 + [5.1, 4.92], 5.01, 1.0), plain, 0.02) == []
    assert failures(way, "bf16-mixed", Run([5.0] * 6 + [5.03] * 2, 5.05, 1.0), plain, 0.02) == [
        "the mean of the last losses is 0.03 apart, more than 0.02",
        "the held-out score is 0.05 apart, more than 0.02",
    ]
    assert failures(way, "bf16-mixed", Run([float("nan")] * 8, 5.0, 1.0), plain, 0.02)[0] == "a loss is no number"
