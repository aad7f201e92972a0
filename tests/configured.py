"""Small models built from configs/ as `train` composes it, and random conditions for them."""

from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from tests.conftest import ROOT, TINY
from wavenet import WaveNet

CONFIGS = ROOT / "configs"
CATEGORIES = {"speaker": ["ann", "bob"], "gender": ["F", "M"], "language": ["en-US", "it"]}
SMALL = {  # frames of 8 and 16 samples, upsampled to values held for 4 samples; instead of 64 and 4
    "mel": ["n_fft=128", "hop_length=8", "n_mels=6", "upsampling.scales=[2]", "hidden_channels=5"],
    "f0": ["hop_length=16", "upsampling.scales=[2,2]", "hidden_channels=5"],
    "features": ["num_channels=3", "hop_length=8", "upsampling.scales=[2]", "hidden_channels=5"],
}
SMALL_CONTEXT = ["model.context.pool=8", "model.context.dilation_cycle=2"]
NAMES = {"file": "features"}  # conditions whose names differ from their files in configs/model/conditioners


def choices(group: str) -> list[str]:
    """Return the names of a config group's options, sorted."""
    return sorted(p.stem for p in (CONFIGS / group).glob("*.yaml"))


def settings(conditioners: list[str], context: bool = False) -> list[str]:
    """Return overrides for a small model with these conditioners."""
    chosen = [f"model/conditioners=[{','.join(conditioners or ['none'])}]"]
    if context:
        chosen += ["model/context=small", *SMALL_CONTEXT]
    names = [NAMES.get(conditioner, conditioner) for conditioner in conditioners]
    return chosen + [f"model.conditioners.{name}.{setting}" for name in names for setting in SMALL.get(name, [])]


def composed(*overrides: str) -> DictConfig:
    """Return the config that `train` composes from these overrides."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def build_model(*overrides: str) -> WaveNet:
    """Return the model that `train` would build, with tiny sizes and the categories of CATEGORIES."""
    return build_full_size(*TINY, *overrides)


def build_full_size(*overrides: str) -> WaveNet:
    """Return the model that `train` would build, with the categories of CATEGORIES."""
    cfg = composed(*overrides)
    for name, conditioner in (cfg.model.get("conditioners") or {}).items():
        if "categories" in conditioner and conditioner.categories is None:
            conditioner.categories = CATEGORIES[name]
    return instantiate(cfg.model, _convert_="all")


def conditions_for(model: WaveNet, batch: int, samples: int) -> dict[str, Any]:
    """Return random conditions, different for each utterance and each frame."""
    conditions: dict[str, Any] = {}
    for name, conditioner in model.conditioners.items():
        features: Any = conditioner.features
        if features is None:
            conditions[name] = [CATEGORIES[name][k % 2] for k in range(batch)]
        else:
            conditions[name] = torch.randn(batch, features.num_channels, features.num_frames(samples))
            if name == "f0":  # Hz, with pauses
                conditions[name] = (150 + 100 * conditions[name]).clamp(min=0)
    return conditions
