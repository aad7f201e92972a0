"""Sweeps: names, results, and runs that are jobs of a cluster, by the submitit launcher's stand-in for SLURM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT, TINY


@pytest.mark.slow
def test_each_run_of_a_sweep_is_a_job(in_tmp, speech):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "-m", "hydra/launcher=submitit_local", *TINY]
    command += ["dataset=folder", f"dataset.root={speech}", "logger=none", "optimizer.lr=0.001,0.002"]
    subprocess.run([*command, "hydra.launcher.timeout_min=5"], check=True, timeout=200)
    runs = [OmegaConf.load(path) for path in Path("runs").glob("*/*/config.yaml")]
    assert sorted(run.optimizer.lr for run in runs) == [0.001, 0.002]
    assert len(list(Path("runs").glob("*/*/checkpoints/last.ckpt"))) == 2
    assert len({Path(run.run_dir).parent for run in runs}) == 1  # of one sweep


@pytest.mark.slow
def test_a_sweep_s_runs_are_named_by_their_settings_and_listed_with_their_bits(run, in_tmp, speech):
    given = [f"dataset.root={speech}", "logger=none", "samples.final_seconds=0", "run_dir=sweep"]
    output = run("train", "-m", *TINY, "dataset=folder", *given, "optimizer.lr=0.001,0.1")
    table = output[output.index("held-out bits  run") :].splitlines()[1:3]
    bits = [float(line.split()[0]) for line in table]
    assert bits == sorted(bits)
    assert {line.split()[1] for line in table} == {"sweep/optimizer.lr=0.001", "sweep/optimizer.lr=0.1"}
    for path in Path("sweep").glob("*/config.yaml"):
        assert path.parent.name == f"optimizer.lr={OmegaConf.load(path).optimizer.lr}"
    assert sorted(path.name for path in in_tmp.iterdir() if path.name != "cache") == ["sweep"]


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["optuna_sweeper", "joblib_launcher"])
def test_sweepers_and_launchers_of_hydra(in_tmp, speech, plugin):
    """Optuna minimises the held-out bits that a run returns; joblib trains several runs at the same time."""
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}")
    chosen = {
        "optuna_sweeper": ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(0.001,0.1)"],
        "joblib_launcher": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optimizer.lr=0.001,0.1"],
    }[plugin]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "-m", *chosen, *TINY, "run_dir=sweep", "logger=none"]
    ended = subprocess.run([*command, "dataset=folder", f"dataset.root={speech}"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    results = [json.loads(line) for line in Path("sweep/sweep.jsonl").read_text().splitlines()]
    rows = ended.stdout[ended.stdout.index("held-out bits  run") :].splitlines()[1:]
    assert len(results) == len(rows) == 2 and all(Path(result["run"], "config.yaml").is_file() for result in results)
    if plugin == "optuna_sweeper":
        best = OmegaConf.load("sweep/optimization_results.yaml")
        assert best.best_value == min(result["bits"] for result in results)


def test_runs_of_several_processes_are_not_swept_by_lightning(run, in_tmp, speech):
    """Lightning starts the other processes of a run with the same command line, which would sweep, too."""
    given = [*TINY, "dataset=folder", f"dataset.root={speech}", "logger=none", "seed=0,1", "run_dir=sweep"]
    several = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*-m: each run would have 2 processes, and the others"):
        run("train", "-m", *given, *several)
    assert not list(Path("sweep").glob("*/config.yaml"))
