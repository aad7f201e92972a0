"""Every committed YAML file is composed, built and run."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tests.configured import CONFIGS, choices
from tests.conftest import PROMPTS, TINY
from tests.data.layouts import LAYOUTS
from wavenet.audio import read
from wavenet.data.folder import Folder
from wavenet.data.shards import prepare_shards

COMMANDS = {"train", "generate", "evaluate", "demo", "push", "export_onnx", "import", "prepare"}


def data_for(dataset, speech, vctk, tmp_path):
    if dataset == "ljspeech":
        wavs = tmp_path / "LJSpeech-1.1" / "wavs"
        wavs.mkdir(parents=True, exist_ok=True)
        for file in (speech / "june").iterdir():
            (wavs / file.name).write_bytes(file.read_bytes())
    if dataset in LAYOUTS:
        LAYOUTS[dataset](tmp_path)
    if dataset == "mix":
        return ["dataset/parts=[folder,vctk]", f"dataset.parts.folder.root={speech}", f"dataset.parts.vctk.root={vctk}"]
    if dataset == "shards":
        prepare_shards(Folder(speech), 8000, tmp_path / "prepared", progress=False)
        return [f"dataset.root={tmp_path / 'prepared'}"]
    root = {"folder": speech, "vctk": vctk, "prompts": None}.get(dataset, tmp_path)
    return [f"dataset.root={root}"] if root else []


OF_FEATURES = ("num_channels=3", "hop_length=8", "upsampling.scales=[2]")
FEATURES = [f"model.conditioners.features.{setting}" for setting in OF_FEATURES]
NEEDS = {"gender": [], "language": [], "file": FEATURES}  # conditioners that need the data of `some_prompts`


def some_prompts(folder):
    """Write a few recordings with the corpus's index columns, and feature files beside them; return the folder."""
    rows = (PROMPTS / "index.csv").read_text().splitlines()
    chosen = [row for row in rows[1:] if row.split(",")[0].endswith(("_001.flac", "_002.flac", "_003.flac"))]
    for name in (row.split(",")[0] for row in chosen):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((PROMPTS / name).read_bytes())
        np.save(path.with_suffix(".npy"), levels(path))
    (folder / "index.csv").write_text("\n".join([rows[0], *chosen]) + "\n")
    return folder


def levels(path):
    """Return three numbers for every 8 samples at 8 kHz: (3, frames)."""
    samples = torch.nn.functional.pad(read(path, 8000)[0], (0, 7))
    blocks = samples[: len(samples) // 8 * 8].reshape(-1, 8)
    return torch.stack([blocks.mean(dim=1), blocks.amax(dim=1), blocks.amin(dim=1)]).numpy()


def test_no_config_is_forgotten():
    groups = {str(p.parent.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml")}
    covered = {".", "dataset", "dataset/parts", "model", "model/distribution", "model/conditioners", "model/context"}
    assert groups == covered | {"optimizer", "trainer", "logger", "callbacks", "experiment"}
    assert {p.stem for p in CONFIGS.glob("*.yaml")} == COMMANDS


@pytest.mark.parametrize("dataset", choices("dataset"))
def test_datasets(run, in_tmp, speech, vctk, dataset):
    output = run("train", *TINY, "logger=none", f"dataset={dataset}", *data_for(dataset, speech, vctk, in_tmp))
    name = {"shards": "folder", "mix": "mix of folder, vctk"}.get(dataset, dataset)
    assert f"data     {name}: " in output
    assert "done     2 steps" in output


def test_every_dataset_is_a_part_of_a_mix(run, in_tmp, speech, vctk):
    parts = choices("dataset/parts")
    assert {*parts, "mix"} == set(choices("dataset"))
    settings = [f"dataset/parts=[{','.join(parts)}]"]
    for part in parts:
        (in_tmp / part).mkdir()
        settings += [
            setting.replace("dataset.", f"dataset.parts.{part}.")
            for setting in data_for(part, speech, vctk, in_tmp / part)
        ]
    output = run("train", *TINY, "logger=none", "dataset=mix", *settings)
    assert f"data     mix of {', '.join(parts)}: " in output
    assert "beethoven/piano, youtubemix/piano" in output
    assert "done     2 steps" in output


ONE_BY_ONE = [
    f"{group}={name}"
    for group in (
        "model/distribution",
        "model/conditioners",
        "model/context",
        "optimizer",
        "trainer",
        "logger",
        "callbacks",
    )
    for name in choices(group)
    if (group, name) != ("trainer", "base")  # the others are based on it
]


@pytest.mark.filterwarnings("default:generating with the slower backend.*does not support the output distribution")
@pytest.mark.parametrize("choice", ONE_BY_ONE)
def test_choices(run, in_tmp, speech, choice):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}"]
    conditioner = choice.removeprefix("model/conditioners=")
    if conditioner in NEEDS:
        settings += [f"dataset.root={some_prompts(in_tmp / 'prompts')}", *NEEDS[conditioner]]
    if choice == "trainer=ddp":
        settings.append("trainer.strategy=auto")  # two processes are tested elsewhere
    if choice == "logger=wandb":
        settings.append("logger.offline=true")
    assert "done     2 steps" in run("train", *settings, choice)
    (folder,) = Path("runs").iterdir()
    logs = {"logger=tensorboard": ["tensorboard"], "logger=csv": ["csv"], "logger=wandb": ["wandb"], "logger=none": []}
    assert sorted(set(os.listdir(folder)) - {"audio", "checkpoints", "config.yaml"}) == logs.get(
        choice, ["tensorboard"]
    )


@pytest.mark.parametrize("model", choices("model"))
def test_models_in_their_full_size(run, in_tmp, speech, model):
    sizes = ("model.", "trainer.max_steps", "trainer.limit_val_batches")
    settings = [s for s in TINY if not s.startswith(sizes)]
    output = run(
        "train", *settings, "trainer.max_steps=1", "trainer.limit_val_batches=1", "logger=none", f"model={model}",
        "dataset=folder", f"dataset.root={speech}", "batch_size=1", "samples.final_seconds=0.005",
        "segment_length=4093",
    )  # fmt: skip
    assert "done     1 steps" in output
    if model == "sashimi_baseline":
        assert "40 layers, 4.24 M parameters" in output and "receptive field 4093 samples" in output
    if model == "paper":
        assert "30 layers" in output and "receptive field 3071 samples" in output


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_experiments(run, in_tmp, speech, vctk, experiment):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    dataset = cfg.hydra.runtime.choices.dataset
    settings = [*TINY, f"experiment={experiment}", "logger=none", "num_workers=0", "compile=false"]
    settings += [f"model.sample_rate={cfg.model.sample_rate}"] if "vocoder_2" in experiment else []  # for their bands
    assert "done     2 steps" in run("train", *settings, *data_for(dataset, speech, vctk, in_tmp))
