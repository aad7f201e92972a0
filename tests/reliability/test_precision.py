"""The short version of `python -m tests.reliability.precision`, and that it would see what it looks for."""

import pytest

from tests.conftest import TINY
from tests.reliability.precision import WAYS, Experiment, Run, failures, quiet

QUICK = ["optimizer.warmup_steps=0", "optimizer.lr=0.01"]


@pytest.fixture
def experiment(tmp_path, speech):
    return Experiment(30, 400, tmp_path / "cache", [*TINY, *QUICK, "dataset=folder", f"dataset.root={speech}"])


@pytest.mark.filterwarnings("ignore")
def test_bf16_and_float32_learn_the_same(experiment):
    quiet()
    plain = experiment.run(WAYS["float32, PyTorch"])
    assert len(plain.losses) == 30 and plain.losses[-1] < plain.losses[0] - 0.1
    for name in ("float32, native", "bf16-mixed"):
        run = experiment.run(WAYS[name])
        assert failures(WAYS[name], run, plain) == []
        assert run.losses != plain.losses  # it was computed otherwise


def test_losses_that_part_are_seen():
    way, plain = WAYS["bf16-mixed"], Run([5.0] * 8, 5.0, 1.0)
    assert failures(way, Run([5.01] * 8, 5.01, 1.0), plain) == []
    assert failures(way, Run([5.0] * 3 + [9.0] * 3 + [5.1, 4.9], 5.0, 1.0), plain) == []
    assert failures(way, Run([5.0, 5.04, *[5.0] * 4, 5.03, 5.03], 5.05, 1.0), plain) == [
        "first: 0.0400 bits apart, more than 0.02",
        "last: 0.0300 bits apart, more than 0.02",
        "held out: 0.0500 bits apart, more than 0.02",
    ]
    assert failures(way, Run([float("nan")] * 8, 5.0, 1.0), plain)[0] == "a loss is no number"
