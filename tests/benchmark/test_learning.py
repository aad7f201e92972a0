"""The benchmark of learning: its runs are those of the command, its peers are causal, its ratios are right."""

import json
import os
import re
import runpy
import sys
import threading
import time

import pytest
import torch

from scripts.benchmarks import learning
from scripts.benchmarks.learning import Case, Recipe, Row, speed_up, time_to_reach
from scripts.benchmarks.peers import make_peer
from tests.conftest import ROOT, TINY

pytestmark = pytest.mark.slow

SETTINGS = (*(each for each in TINY if not each.startswith(("trainer.", "samples."))), "trainer.limit_val_batches=100")


def tiny(monkeypatch, **more):
    """Replace the recipes by small ones, and train in this process."""
    recipes = {"default": Recipe("wavenet", SETTINGS), "conv1d": Recipe("conv1d", SETTINGS)} | more
    monkeypatch.setattr(learning, "RECIPES", recipes)
    monkeypatch.setattr(learning, "run", learning.train)


def test_a_run_is_that_of_the_command(run, in_tmp, speech, monkeypatch):
    tiny(monkeypatch)
    scores = learning.train(Case("default", None, 6, 3, str(speech), str(in_tmp / "cache"), scores=2))
    given = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none", "seed=3"]
    printed = run("train", *TINY, *SETTINGS, *given, "trainer.max_steps=6", "trainer.val_check_interval=3")
    (bits,) = re.findall(r"done +6 steps, ([\d.]+) bits", printed)
    assert f"{scores[-1][2]:.4f}" == bits
    assert [samples for _, samples, _ in scores] == [3 * 2 * 400, 6 * 2 * 400]
    assert scores[0][0] < scores[1][0]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of wavenet-vocoder
@pytest.mark.parametrize("name", learning.RECIPES)
def test_every_recipe_trains_and_is_scored(name, in_tmp, speech, monkeypatch):
    recipe = learning.RECIPES[name]
    if recipe.network == learning.VOCODER:
        pytest.importorskip("wavenet_vocoder")
    monkeypatch.setitem(learning.RECIPES, name, Recipe(recipe.network, recipe.settings + SETTINGS))
    scores = learning.train(Case(name, None, 12, 0, str(speech), str(in_tmp / "cache"), scores=2))
    assert [samples for _, samples, _ in scores] == [6 * 2 * 400, 12 * 2 * 400]
    assert scores[-1][2] < scores[0][2] < 8.5


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")
@pytest.mark.parametrize("network", ["conv1d", learning.VOCODER])
def test_peers_know_the_speaker_and_nothing_of_the_future(small, network):
    if network == learning.VOCODER:
        pytest.importorskip("wavenet_vocoder")
    peer = make_peer(network, small(speakers=("ann", "bob")))
    waveform = torch.rand(1, 60) * 2 - 1
    changed = waveform.clone()
    changed[:, 40] = -changed[:, 40]
    ann, bob = (peer.condition({"speaker": name}, 1) for name in ("ann", "bob"))
    before, after, other = (
        peer.log_prob(samples, condition)[0]
        for samples, condition in ((waveform, ann), (changed, ann), (waveform, bob))
    )
    assert before.shape == waveform.shape
    assert torch.equal(before[:, :40], after[:, :40]) and not torch.equal(before[:, 40:], after[:, 40:])
    assert not torch.equal(before, other)
    assert {id(p) for module in peer.outer_modules for p in module.parameters()} < {id(p) for p in peer.parameters()}


CURVES = [[(10.0, 1, 6.0), (20.0, 2, 5.0)], [(10.0, 1, 6.5), (20.0, 2, 5.5), (40.0, 4, 4.5)]]


@pytest.mark.parametrize(
    ("bits", "expected"), [(7.0, 10.0), (6.0, 10.0), (5.5, 15.0), (5.0, 20.0), (4.75, 35.0), (4.4, None)]
)
def test_the_first_time_at_which_a_run_is_as_good(bits, expected):
    assert time_to_reach(bits, CURVES) == expected


def test_how_many_times_as_long_a_recipe_takes():
    ours = [Row("ours", 2, 20.0, 2, [5.0], CURVES[:1]), Row("ours", 4, 40.0, 4, [4.5], CURVES[1:])]
    other = Row("other", 1, 60.0, 1, [5.5], [[(60.0, 1, 5.5)]])
    assert [speed_up(row, [*ours, other]) for row in (*ours, other)] == [1.0, 1.0, 4.0]
    assert speed_up(Row("best", 1, 60.0, 1, [4.0], [[(60.0, 1, 4.0)]]), ours) is None


def test_runs_at_a_time_have_cores_of_their_own(monkeypatch):
    monkeypatch.setattr(learning, "shares_of_cores", lambda jobs: [(0,), (1,)])
    monkeypatch.setattr(learning, "steps_per_second", lambda case: 8.0)
    running, seen, together = [], [], threading.Barrier(2, timeout=20)

    def run(case):
        assert case.cores not in running
        running.append(case.cores)
        together.wait()  # both are at work
        seen.append((case.recipe, case.seed, case.cores))
        running.remove(case.cores)
        return [(1.0, 10, 5.0 + case.seed)]

    monkeypatch.setattr(learning, "run", run)
    printed = []
    rows = learning.benchmark_learning(["default", "AdamW"], [1], 2, jobs=2, on_run=lambda *each: printed.append(each))
    assert [(row.recipe, row.bits) for row in rows] == [("default", [5.0, 6.0]), ("AdamW", [5.0, 6.0])]
    assert len(printed) == 4 and {cores for *_, cores in seen} == {(0,), (1,)}


def test_a_run_that_fails_ends_the_benchmark(monkeypatch):
    tried = []

    def run(case):
        tried.append(case)
        time.sleep(0.1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(learning, "run", run)
    monkeypatch.setattr(learning, "steps_per_second", lambda case: 8.0)
    with pytest.raises(RuntimeError, match="out of memory"):
        learning.benchmark_learning(["default"], [1], 50)
    assert len(tried) < 50


def test_more_runs_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6, 9, 11}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)
    assert learning.shares_of_cores(2) == [(3, 5), (6, 9)] and learning.shares_of_cores(1) == [None]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "learning", "--jobs", "6"])
    with pytest.raises(SystemExit, match=r"--jobs is 6; this machine has 5 cores, of which each run needs one"):
        runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")


def test_the_script(in_tmp, speech, monkeypatch, capsys):
    tiny(monkeypatch)
    monkeypatch.setattr(learning, "steps_per_second", lambda case: 16.0)
    arguments = ["--recipes", "default", "conv1d", "--times", "1", "--seeds", "2", "--root", str(speech)]
    places = ["--cache", "cache", "--figure", "f/learning.png", "--output", "o.json"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "learning", *arguments, *places])
    runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("bits per sample\n") == 4 and "| default         | 16 " in printed
    result = json.loads((in_tmp / "o.json").read_text())
    assert len(result["split"]["held_out"]) == 3
    assert [(row["recipe"], row["steps"], len(row["bits"])) for row in result["rows"]] == [
        ("default", 16, 2),
        ("conv1d", 16, 2),
    ]
    assert (in_tmp / "f" / "learning.png").read_bytes().startswith(b"\x89PNG")
