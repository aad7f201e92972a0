"""Sweeps whose runs are jobs of a cluster: by Hydra's submitit launcher, here with its stand-in for SLURM."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT, TINY

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")


@pytest.mark.slow
def test_each_run_of_a_sweep_is_a_job(in_tmp, speech):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "-m", "hydra/launcher=submitit_local", *TINY]
    command += ["dataset=folder", f"dataset.root={speech}", "logger=none", "optimizer.lr=0.001,0.002"]
    subprocess.run([*command, "hydra.launcher.timeout_min=5"], check=True, timeout=200)
    runs = [OmegaConf.load(path) for path in Path("runs").glob("*/config.yaml")]
    assert sorted(run.optimizer.lr for run in runs) == [0.001, 0.002]
    assert len(list(Path("runs").glob("*/checkpoints/last.ckpt"))) == 2
