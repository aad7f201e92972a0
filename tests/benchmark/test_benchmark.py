import json
import os
import runpy
import subprocess
import sys
import warnings

import pytest
import torch

from scripts.benchmarks import contention, data, floors, generation, plan, resampling, training, vocoder
from scripts.benchmarks.plain import PlainConv1d
from tests.conftest import ROOT, TINY
from wavenet import WaveNet
from wavenet.distributions import MuLawCategorical

pytestmark = pytest.mark.slow


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


def script(monkeypatch, capsys, *arguments):
    """Run scripts/benchmark.py; returns what it printed and the JSON that it wrote."""
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments, "--output", "o/b.json"])
    runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "written to o/b.json" in printed
    with open("o/b.json") as file:
        result = json.load(file)
    assert result["machine"]["torch"]
    return printed, result


def test_the_wait_for_the_first_sample_is_measured_in_a_new_process(monkeypatch):
    """With the cache of compiled code that is there; an empty one takes a while."""
    cached = os.environ.get("NUMBA_CACHE_DIR")
    run = subprocess.run

    def with_cache(command, env, **options):
        kept = {name: value for name, value in env.items() if name != "NUMBA_CACHE_DIR"}
        return run(command, env=kept | ({"NUMBA_CACHE_DIR": cached} if cached else {}), **options)

    monkeypatch.setattr(generation.subprocess, "run", with_cache)
    assert generation.compile_seconds("float32") > 0


def test_generation(in_tmp, monkeypatch, capsys):
    monkeypatch.setattr(generation, "compile_seconds", lambda weights, fresh=True: 9.5 if fresh else 0.5)
    options = ["--shapes", "M20", "--rounds", "1", "--batch", "3", "--seconds", "0.02", "--samples", "200"]
    printed, result = script(monkeypatch, capsys, "generation", *options)
    assert "of floor" in printed
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


def test_the_yardstick_is_the_same_network():
    """With the same weights it has the same log-probabilities."""
    sizes = {"residual_channels": 6, "gate_channels": 8, "skip_channels": 10, "dilation_cycle": 4, "num_cycles": 2}
    model, plain = WaveNet(MuLawCategorical(32, 5), 8000, **sizes), PlainConv1d(num_classes=32, **sizes)
    with torch.no_grad():
        table = model.distribution.embedding.weight.T
        plain.input.weight.copy_((model.input.conv.weight[..., 0] @ table).unsqueeze(-1))
        plain.input.bias.copy_(model.input.conv.bias)
        layers = list(model.stack.layers)
        pairs = [(plain.gated[i], layer.dilated.conv) for i, layer in enumerate(layers)]
        pairs += [(plain.skip[i], layer.skip) for i, layer in enumerate(layers)]
        pairs += [(plain.residual[i], layer.residual) for i, layer in enumerate(layers[:-1])]
        for theirs, ours in [*pairs, (plain.head[1], model.head[1]), (plain.head[3], model.head[3])]:
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
    waveform = torch.rand(2, 200) * 2 - 1
    torch.testing.assert_close(plain.log_prob(waveform), model.log_prob(waveform)[0], rtol=1e-4, atol=1e-4)


def test_training(in_tmp, monkeypatch, capsys):
    """One case in a process of its own, as all are measured; here the others are measured in this one, to save time."""
    run, processes = training.run, []

    def measured(case, seconds):
        if not processes:
            processes.append(case)
            return run(case, seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return training.measure(case, seconds)

    monkeypatch.setattr(training, "run", measured)
    monkeypatch.setattr(training, "_installed", lambda name: False)  # it takes long, once for each
    options = ["--shapes", "default", "--rounds", "1", "--batch", "1", "--segment", "300", "--seconds", "0.01"]
    printed, result = script(monkeypatch, capsys, "training", *options, "--device", "cpu")
    assert "x conv1d" in printed and "of matmul" in printed
    networks = [(row["case"]["network"], row["case"]["loop"], row["case"]["keeps_memory"]) for row in result["rows"]]
    for wanted in ("wavenet", "conv1d"):
        assert (wanted, "hand", True) in networks and (wanted, "hand", False) in networks
    assert ("wavenet", "lightning", True) in networks and ("wavenet, PyTorch", "hand", True) in networks
    for row in result["rows"]:
        assert row["slowest"] <= row["rate"] <= row["fastest"] and row["rate"] > 0
        assert row["of_peak"] > 0 and row["of_matmul"] > 0 and row["memory"] >= 0
        assert (row["error"] is not None) == (row["case"]["network"] in ("wavenet", "wavenet, PyTorch"))
        assert row["error"] is None or row["error"] < 1e-4
    rate = {n: row["rate"] for n, row in zip(networks, result["rows"], strict=True)}
    ratio = {n: row["to_conv1d"] for n, row in zip(networks, result["rows"], strict=True)}
    for keeps in (True, False):
        expected = rate["wavenet", "hand", keeps] / rate["conv1d", "hand", keeps]
        assert ratio["wavenet", "hand", keeps] == pytest.approx(expected)


def test_a_failing_case_gives_the_reason():
    with pytest.raises(RuntimeError, match=r"measuring Case\(shape='no such shape'[\s\S]*KeyError"):
        training.run(training.Case("no such shape"), 0.01)


def test_data(in_tmp, monkeypatch, capsys):
    monkeypatch.setattr(training, "default_rate", lambda segment, seconds: 1e5)
    printed, result = script(monkeypatch, capsys, "data", "--seconds", "0.05", "--open", "files:50", "shards:3000")
    assert "workers for a GPU" in printed
    assert [(row["source"], row["workers"]) for row in result["rows"]] == [
        (source, workers) for source in ("FLAC", "WAV", "cache", "shards") for workers in (0, 1)
    ]
    for row in result["rows"]:
        assert row["samples"] == pytest.approx(2000 * row["segments"])
        assert row["workers_for_gpu"] == pytest.approx(data.GPU_RATE / row["samples"])
        if row["workers"] == 0:
            assert row["of_step"] == pytest.approx(1 / (1 + row["samples"] / 1e5))
    assert "MB each" in printed
    assert [(row["corpus"], row["utterances"], row["processes"]) for row in result["opening"]] == [
        (*corpus, processes) for corpus in (("files", 50), ("shards", 3000)) for processes in (1, 4)
    ]
    assert all(row["seconds"] > 0 and row["locate_us"] > 0 for row in result["opening"])


def test_plan(in_tmp, monkeypatch, capsys):
    """Against quantities that are worked out by hand from round measurements; and the measurements themselves."""
    rows = {row.what: row for row in plan.planned(plan.Plan(), plan.Measured(1e7, 2.0, 1000.0, 80.0, 1e-7, 30.0))}
    assert rows["shards"].value == "6.91 TB"  # 60 000 h x 3600 s x 16 000 samples x 2 bytes
    assert rows["index"].value == "1.44 GB"  # 18 million utterances x 80 bytes
    assert rows["opening, each process"].value == "1.8 s, 540 MB of its own"
    assert rows["preparation"].value == "96 core-hours"
    assert rows["each sample once"].value == "3.0 h"  # 3.456e12 samples / (64 x 5e6 samples/s)
    assert rows["requests to the store"].load == pytest.approx(64 * 5e6 / 16_000 / 5500)
    assert rows["cores that read, each rank"].load == pytest.approx(5e6 / 16_000 / 1000 / 8)
    assert rows["time of a request, at most"].value == "51 ms"  # 16 threads x 16 000 samples / 5e6 samples/s
    received = 8 * 5e6 / 16_000 * (1 + (2 * 19_069 - 1) / 131_072) * 131_072
    assert rows["reads of a machine from a store"].load == pytest.approx(received / (25e9 / 8))
    assert plan.bottleneck(list(rows.values())) == "nearest to its limit, or beyond: requests to the store, at 364 %"
    monkeypatch.setattr(plan, "_ROWS", 3000)
    printed, result = script(monkeypatch, capsys, "plan", "--seconds", "0.05", "--gpus", "8", "--hours", "585")
    assert result["plan"]["gpus"] == 8 and len(result["rows"]) == len(rows)
    assert "8 x 5e+06 samples/s assumed" in printed


def test_resampling(in_tmp, monkeypatch, capsys):
    """Each filter between two pairs of rates; a copy of every third sample passes aliases as they are."""
    _, result = script(
        monkeypatch, capsys, "resampling", "--rounds", "1", "--seconds", "0.1", "--rates", "48000:16000", "22050:16000"
    )
    assert [(row["resampler"], *row["rates"]) for row in result["rows"]] == [
        (name, old, 16000) for old in (48000, 22050) for name in resampling.RESAMPLERS
    ]
    of_soxr = [row for row in result["rows"] if row["resampler"] == "soxr HQ"]
    assert all(row["ripple"] < 0.02 and row["alias"] < -120 and 0.95 <= row["cutoff"] <= 0.97 for row in of_soxr)
    ripple, cutoff, alias = resampling.response(lambda x, old, new: x[:: old // new], 48000, 16000)
    assert (cutoff, alias) == (1.0, pytest.approx(0, abs=0.01))
    assert ripple < 0.001


def test_vocoder(run, in_tmp, monkeypatch, capsys):
    run("train", *TINY, "run_dir=v", "logger=none", "experiment=vocoder", "model.condition_channels=4")
    run("train", *TINY, "run_dir=w", "logger=none")
    options = ["--vocoder", "v", "--without", "w", "--most", "2", "--folder", "o", "--figure", "o/f.png"]
    printed, result = script(monkeypatch, capsys, "vocoder", *options, "--cache", str(in_tmp / "cache"))
    assert "MCD, dB" in printed
    rows = [(row["model"], row["given"]) for row in result["rows"]]
    assert len(rows) == len(set(rows)) == 5
    copy, *models = result["rows"]
    assert copy["log_mel_distance"] < 6 and copy["f0_error"] < 50  # a copy in 8 bits is close
    for row in models:
        assert 4 < row["bits"] < 9
        assert row["log_mel_distance"] > copy["log_mel_distance"]
    assert len(list((in_tmp / "o" / "sounds").glob("*.wav"))) == 2 * 6
    assert (in_tmp / "o" / "f.png").read_bytes().startswith(b"\x89PNG")


def test_vocoder_trains_where_no_run_is_given(in_tmp):
    assert vocoder.train(in_tmp, "x", *TINY) > 0
    assert (in_tmp / "x" / "checkpoints" / "best.ckpt").is_file()


def test_adaptation(in_tmp, speech, monkeypatch, capsys):
    few = ["--minutes", "0.15", "--steps", "2", "--rates", "1e-9", "0.001", "--folder", "runs"]
    printed, result = script(monkeypatch, capsys, "adaptation", str(speech), *few)
    rows = result["rows"]
    assert [row["model"] for row in rows] == [
        "babble", "babble, only the speaker's vector", "babble, adapted", "babble, adapted", "random weights"
    ]  # fmt: skip
    before, _, same, adapted, random = (row["bits"] for row in rows)
    assert same == pytest.approx(before, abs=1e-3) and adapted != before and random > before + 2
    assert all(f"{row['bits']:.3f}" in printed for row in rows)


def test_contention(in_tmp, monkeypatch, capsys):
    case = contention.Case("training", "wavenet", 1, "short")
    assert contention.run(case, 0.05) > 0
    rates = iter([200.0, 100.0, 300.0, 100.0, 900.0, 200.0])  # alone and beside a busy process, three rounds
    monkeypatch.setattr(contention, "run", lambda *arguments: next(rates))
    monkeypatch.setattr(contention, "cases_for", lambda threads: [case])
    printed, result = script(monkeypatch, capsys, "contention", "--rounds", "3")
    assert "| training   | wavenet          | 1       | short        | 300              | 100" in printed
    assert [row["slower"] for row in result["rows"]] == [3]
