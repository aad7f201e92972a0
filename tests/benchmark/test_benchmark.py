import json
import runpy
import sys

import pytest

from tests.conftest import ROOT
from wavenet.benchmark import floors, generation


def test_products_and_floor(monkeypatch):
    """By hand: what a sample of M20 multiplies, and how long that takes on a machine of round numbers."""
    model = generation.make_model("M20")
    layer = 2 * 64 * 128 + 64 * 64 + 64 * 256
    by_hand = 64 * 64 + 20 * layer - 64 * 64 + 256 * 256 + 256 * 256
    assert generation.products(model) == by_hand

    monkeypatch.setattr(generation, "read_bandwidth", lambda size, threads: 4e9)
    monkeypatch.setattr(generation, "multiply_add_rate", lambda threads: 8e9)
    assert generation.floor(model, 1, 1, 4) == pytest.approx(1e9 / by_hand)  # reading is slower
    assert generation.floor(model, 1, 2, 4) == pytest.approx(2e9 / by_hand)
    assert generation.floor(model, 1, 1, 1) == pytest.approx(4e9 / by_hand)
    assert generation.floor(model, 32, 1, 4) == pytest.approx(8e9 / by_hand)  # multiplying is
    assert generation.floor(model, 32, 2, 4) == pytest.approx(16e9 / by_hand)


def test_what_is_measured_of_the_machine():
    """A core reads between 0.1 and 10 000 GB/s and multiplies between 0.1 and 10 000 G times a second."""
    for threads in (1, 2):
        assert 1e8 < floors.read_bandwidth(100_000, threads) < 1e13
        assert 1e8 < floors.multiply_add_rate(threads) < 1e13


def test_the_script(in_tmp, monkeypatch, capsys):
    options = [
        "--shapes",
        "M20",
        "--rounds",
        "1",
        "--batch",
        "3",
        "--seconds",
        "0.02",
        "--samples",
        "200",
        "--output",
        "o/b.json",
    ]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "generation", *options])
    runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "of floor" in printed and "written to o/b.json" in printed
    result = json.loads((in_tmp / "o" / "b.json").read_text())
    assert result["machine"]["torch"]
    ours = [row for row in result["rows"] if row["backend"] == "cpu"]
    assert {row["batch"] for row in ours} == {1, 3}
    for row in ours:
        assert 0 <= row["error"] < 1e-4
        assert row["slowest"] <= row["rate"] <= row["fastest"]
        assert row["to_reference"] > 0 and row["to_floor"] > 0 and row["compile"] > 0
    (same,) = result["same_samples"]
    assert same["samples"] == 200
    assert same["differing_draws"] <= same["boundary_cases"]
    assert same["first_difference"] is None or same["boundary_cases"] > 0
