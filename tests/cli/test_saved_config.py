"""A run's saved config: every config of this package is accepted, and it does not decide where files are written."""

import os
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.configured import CONFIGS, choices
from wavenet.checkpoint import CheckpointError
from wavenet.cli.command import plain
from wavenet.cli.saved_config import load_saved_config

CHOICES = [f"{group}={name}" for group in ("dataset", "trainer", "logger", "experiment") for name in choices(group)]


def write(folder: Path, *overrides: str, **changes) -> Path:
    """Write a config as `train` saves it, with changes; return its path."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = plain(compose("train", [*overrides, "run_dir=/somewhere/else"]))
        del cfg["trust"]  # which no run saves
    for name, change in changes.items():
        cfg[name] = change(cfg[name]) if callable(change) else change
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(cfg), folder / "config.yaml")
    return folder / "config.yaml"


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "trainer=base"])
def test_every_config_of_this_package_is_loaded_unchanged(tmp_path, monkeypatch, choice):
    monkeypatch.chdir(tmp_path)  # a folder without a cache
    path = write(tmp_path, choice)
    saved, again = yaml.safe_load(path.read_text()), plain(load_saved_config(path, "own/cache"))
    moved = {"run_dir": str(tmp_path), "preparation": saved["preparation"] | {"cache_dir": "own/cache"}}
    if saved["logger"]:
        moved["logger"] = saved["logger"] | {"save_dir": str(tmp_path)}
    if choice == "logger=wandb":
        assert saved["logger"]["offline"] is False  # uploads need the command line
        moved["logger"] |= {"offline": True}
    assert again == saved | moved


def test_additional_settings_are_accepted(tmp_path):
    path = write(
        tmp_path, "trainer.gradient_clip_algorithm=value", "trainer.devices=[0,1]", "trainer.gradient_clip_val=null",
        "validation_fraction=0", "compile=max-autotune", "preparation.num_processes=2", "trainer.limit_val_batches=0.5",
    )  # fmt: skip
    cfg = load_saved_config(path, "own/cache")
    assert cfg.trainer.devices == [0, 1] and cfg.compile == "max-autotune" and cfg.trainer.gradient_clip_val is None


def test_settings_of_a_newer_version_have_their_default(tmp_path):
    path = write(tmp_path)
    saved = yaml.safe_load(path.read_text())
    del saved["save_every_n_steps"], saved["samples"]["max_num"]
    path.write_text(yaml.safe_dump(saved))
    cfg = load_saved_config(path, "own/cache")
    assert (cfg.save_every_n_steps, cfg.samples.max_num) == (1000, 4)


MIX = ["dataset=mix", "dataset/parts=[folder,vctk]", "dataset.parts.vctk.download=true"]


def test_no_part_of_a_mix_is_downloaded_again(tmp_path):
    path = write(tmp_path, *MIX, "dataset.parts.vctk.root=corpora", "dataset.weights={folder: 1, vctk: 2.5}")
    dataset = load_saved_config(path, "own/cache").dataset
    assert (dataset.parts.vctk.root, dataset.parts.vctk.download) == ("corpora", False)
    assert dataset.weights == {"folder": 1, "vctk": 2.5}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": {"_target_": "os.system"}}, r"_target_ 'os\.system' is not one of this package's own classes; refused"),
        ({"x": {"_target_": "wavenet.model.WaveNet"}}, r"'wavenet\.model\.WaveNet' is not one of .* refused"),
        ({"x": {"_target_": "wavenet.data.mix.Mix", "parts": {}}}, "is a mix itself; refused, list its parts instead"),
        ({"x": {"_target_": "wavenet.data.vctk.VCTK", "evil": 1}}, "dataset.parts.x: .* argument 'evil'"),
        ({"x": {"_target_": "wavenet.data.vctk.VCTK", "mic": 3}}, "dataset.parts.x.mic is 3; it must be mic1 or mic2"),
        ({"x": {"_target_": "wavenet.data.vctk.VCTK", "root": {"_target_": "os.system"}}}, "no class may be named"),
        ({"x": "vctk"}, "dataset.parts.x is 'vctk'; it must be a group of settings"),
        ({"x": {"root": "data"}}, "dataset.parts.x._target_ is missing; every run's config has it"),
        (["vctk"], r"dataset.parts is \['vctk'\]; it must be a group of settings"),
    ],
)
def test_a_mix_in_a_runs_config_has_datasets_only(tmp_path, parts, message):
    path = write(tmp_path, *MIX, dataset=lambda dataset: dataset | {"parts": parts})
    with pytest.raises(CheckpointError, match=message):
        load_saved_config(path, "own/cache")


def test_a_dataset_is_not_downloaded_again(tmp_path):
    path = write(tmp_path, "dataset=vctk", "dataset.download=true", "dataset.root=corpora")
    dataset = load_saved_config(path, "own/cache").dataset
    assert (dataset.root, dataset.download) == ("corpora", False)


@pytest.mark.parametrize("change", [{"project": "../x"}, {"name": "https://x"}, {"offline": "no"}, {"name": ["x"]}])
def test_a_log_for_a_server_has_plain_names(tmp_path, change):
    path = write(tmp_path, "logger=wandb", logger=lambda log: log | change)
    with pytest.raises(CheckpointError, match=rf"config\.yaml: logger\.{next(iter(change))} is "):
        load_saved_config(path, "own/cache")


def test_a_cache_that_only_the_run_names_is_not_used(tmp_path, capsys):
    path = write(tmp_path / "run", f"preparation.cache_dir={tmp_path}/cache")
    (tmp_path / "cache" / "vctk-16000Hz").mkdir(parents=True)
    (tmp_path / "cache" / "vctk-16000Hz" / "table.json").write_text("{}")
    assert load_saved_config(path, "own/cache").preparation.cache_dir == "own/cache"
    assert f"'{tmp_path}/cache' is not used; preparation.cache_dir=... " in capsys.readouterr().out
    assert load_saved_config(path, f"{tmp_path}/cache").preparation.cache_dir == f"{tmp_path}/cache"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("key", ["{}", "? [{}]\n", "1.{}e3", "{}:30"])
def test_keys_whose_hashes_collide_are_refused_before_they_are_hashed(tmp_path, key):
    path = write(tmp_path)
    with path.open("a") as file:
        file.writelines(f"{key.format(k * (2**61 - 1))}: 0\n" for k in range(1, 4000))
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"config\.yaml: contains the name .*; names must be strings"):
        load_saved_config(path, "own/cache")
    assert time.process_time() - start < 5


def test_a_link_in_the_runs_folder_is_named(tmp_path):
    path = write(tmp_path / "run")
    (tmp_path / "victim.txt").write_text("two years")
    os.symlink(tmp_path / "victim.txt", tmp_path / "run" / "skipped.txt")
    with pytest.raises(CheckpointError, match=r"config\.yaml: its folder contains 'skipped\.txt', a link"):
        load_saved_config(path, "own/cache")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer": lambda t: t | {"plugins": "x"}}, "trainer.plugins is not a setting of a run"),
        (
            {"trainer": lambda t: t | {"devices": 10**5}},
            "trainer.devices is 100000; it must be a whole number from 1 to 256",
        ),
        (
            {"trainer": lambda t: {**t, "max_steps": "many"}},
            "trainer.max_steps is 'many'; it must be a whole number from 1",
        ),
        ({"logger": lambda log: log | {"version": "../x"}}, "logger.version do not name a log folder"),
        ({"dataset": {"_target_": "wavenet.data.vctk.VCTK", "evil": 1}}, "unexpected keyword argument 'evil'"),
        ({"dataset": {"_target_": "wavenet.data.corpus.Corpus"}}, "is not a dataset; refused"),
        ({"optimizer": lambda o: o | {"betas": [0.9]}}, "optimizer.betas is .* it must be a list of 2, such as"),
        (
            {"batch_size": 2**16, "segment_length": 2**20},
            "batch_size x segment_length is 65536 x 1048576, more than 268435456",
        ),
        ({"samples": 5}, "samples is 5; it must be a group of settings"),
    ],
)
def test_what_a_run_does_not_have_is_named(tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_saved_config(write(tmp_path, **change), "own/cache")
