"""The benchmark of configs: its runs are those of the command, and its memory is that of the run alone."""

import json
import re
import runpy
import subprocess
import sys

import pytest

from scripts.benchmarks import configs
from scripts.benchmarks.configs import Finished, Trained, Tried
from tests.cli.test_validation import composed
from tests.conftest import ROOT, TINY
from wavenet.cli.preflight import check_run

pytestmark = pytest.mark.slow


def on_a_few_recordings(speech):
    return [*TINY, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]


def script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "configs", *arguments])
    runpy.run_path(str(ROOT / "scripts" / "benchmark.py"), run_name="__main__")


def test_the_script(run, in_tmp, speech, monkeypatch, capsys):
    """A run of a row is that of the command; a row that fails is named, and the one after it is measured."""
    trained = [*on_a_few_recordings(speech), "trainer.limit_val_batches=1.0"]
    tried = [each for each in TINY if each.startswith("model.")]
    monkeypatch.setattr(configs, "FOR_GPUS", (" ".join(tried),))
    rows = [" ".join(trained), "no_such=1", " ".join(tried)]
    places = ["--folder", "runs", "--cache", "cache", "--output", "o.json"]
    with pytest.raises(SystemExit, match=r"^benchmark.py configs: 1 of 3 rows failed; o.json has the rest$"):
        script(monkeypatch, "--rows", *rows, "--steps", "2", *places)
    printed = capsys.readouterr()
    assert "benchmark.py configs: no_such=1: wavenet train: no_such=1: there is no such setting" in printed.err
    result = json.loads((in_tmp / "o.json").read_text())
    assert result["machine"]["torch"] and result["threads"] >= 1 and list(result["failed"]) == ["no_such=1"]
    first, second = result["rows"]
    assert [first["config"], second["config"]] == [rows[0], rows[2]]
    assert printed.out.index(configs.TRAINED_HEADER) < printed.out.index(configs.TRIED_HEADER)
    assert configs.line(Trained(**first)) in printed.out and configs.line(Tried(**second)) in printed.out
    for row in (first, second):
        assert 1000 < row["parameters"] < 20_000 and 1e8 < row["memory"] < 1e11 and row["real_time"] > 1
        assert row["receptive_field"] == 8 / 8000
    assert first["steps"] == 2 and first["seconds"] > 1
    assert (second["sample_rate"], second["segment"]) == (8000, 2000) and second["rate"] > 0

    output = run("train", *trained, "trainer.max_steps=2", "run_dir=r", "logger=none")
    (bits,) = re.findall(r"done +2 steps, ([\d.]+) bits", output)
    assert f"{first['bits']:.4f}" == bits
    assert first["bits_16"] > first["bits"] + 2


def test_bits_of_16_bit_samples_are_what_they_are(run, in_tmp, speech):
    run("train", *on_a_few_recordings(speech), "run_dir=r", "model/distribution=logistic_mixture", "logger=none")
    found = configs.look_at(Finished("r", str(in_tmp / "cache"), scored=True), 0.1)
    assert found["bits"] == found["bits_16"] > 8
    assert "bits" not in configs.look_at(Finished("r", str(in_tmp / "cache"), scored=False), 0.1)


def test_peak_memory_is_that_of_the_command_alone(tmp_path):
    """A process's peak begins with that of the one that started it: this one, which holds 400 MB."""
    held = b"x" * 400_000_000
    file = tmp_path / "peak.json"

    def measure(code):
        command = [sys.executable, "-I", str(configs._PEAK), str(file), sys.executable, "-c", code]
        return subprocess.run(command, check=False).returncode, json.loads(file.read_text())

    code, small = measure("import time; time.sleep(0.5)")
    assert code == 0 and small["memory"] < 100e6 and 0.5 <= small["seconds"]
    code, large = measure("held = b'x' * 200_000_000; raise SystemExit(3)")
    assert code == 3 and 200e6 <= large["memory"] < 300e6
    assert measure("import os; os.kill(os.getpid(), 9)")[0] == 137
    assert len(held) == 400_000_000


@pytest.mark.parametrize("config", [*configs.TRAINED, *configs.FOR_GPUS])
def test_every_row_is_a_run_that_a_cpu_can_take(config):
    """All settings of a row are known, fit each other, and need no GPU and no corpus but the package's."""
    settings = [] if config == configs.DEFAULT else [config]
    settings += configs._TRIED if config in configs.FOR_GPUS else ()
    cfg = composed("train", *settings, "run_dir=runs/x")
    check_run(cfg)
    assert (cfg.trainer.accelerator, cfg.trainer.precision) == ("cpu", "32-true")
    assert cfg.dataset._target_ == "wavenet.data.prompts.Prompts"


def test_every_experiment_for_gpus_has_a_row():
    names = [path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")]
    accelerators = {name: composed("train", f"experiment={name}").trainer.accelerator for name in names}
    for_gpus = {f"experiment={name}" for name, accelerator in accelerators.items() if accelerator == "gpu"}
    assert for_gpus == set(configs.FOR_GPUS)


def test_the_lines_of_the_tables():
    trained = Trained("default", 178_432, 0.017, 12_000, 408.0, 1_483_493_376, 3.8177, 9.8651, 17.96)
    cells = ["default", "0.18", "17", "12000", "6.8", "1483", "3.818", "9.865", "17.96"]
    assert [cell.strip() for cell in configs.line(trained).strip("|").split("|")] == cells
    tried = Tried("experiment=paper", 4_130_000, 0.1919, 16_000, 16_000, 2580.6, 4_561_731_584, 0.2207)
    cells = ["experiment=paper", "4.13", "192", "16000", "1 x 16000", "2581", "4562", "0.22"]
    assert [cell.strip() for cell in configs.line(tried).strip("|").split("|")] == cells
    for row, heading in ((trained, configs.TRAINED_HEADER), (tried, configs.TRIED_HEADER)):
        assert {len(each) for each in heading.split("\n")} == {len(configs.line(row))}


def test_a_folder_that_is_there_is_refused(in_tmp, monkeypatch):
    (in_tmp / "runs").mkdir()
    with pytest.raises(SystemExit, match=r"^benchmark.py configs: runs is there already; give a new --folder$"):
        script(monkeypatch, "--folder", "runs")


def test_a_trial_that_fails_ends_the_benchmark(in_tmp, monkeypatch):
    def train(*arguments):
        raise RuntimeError("wavenet train: the disk is full")

    monkeypatch.setattr(configs, "train", train)
    with pytest.raises(SystemExit, match=r"^benchmark.py configs: wavenet train: the disk is full$"):
        script(monkeypatch, "--folder", "runs")
