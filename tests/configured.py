"""What configs/ names, composed as `train` does it and built small; and conditions to tell it."""

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
SMALL = {  # frames of 8 and 16 samples, with values that are held for 4, in place of 64 and 4
    "mel": ["n_fft=128", "hop_length=8", "n_mels=6", "upsampling.scales=[2]", "hidden_channels=5"],
    "f0": ["hop_length=16", "upsampling.scales=[2,2]", "hidden_channels=5"],
    "features": ["num_channels=3", "hop_length=8", "upsampling.scales=[2]", "hidden_channels=5"],
}
SMALL_CONTEXT = ["model.context.pool=8", "model.context.dilation_cycle=2"]
NAMES = {"file": "features"}  # of the condition that a file in configs/model/conditioners makes, where it is another


def choices(group: str) -> list[str]:
    """The names of a group's configs."""
    return sorted(p.stem for p in (CONFIGS / group).glob("*.yaml"))


def settings(conditioners: list[str], context: bool = False) -> list[str]:
    """Overrides for a small model with these conditioners."""
    chosen = [f"model/conditioners=[{','.join(conditioners or ['none'])}]"]
    if context:
        chosen += ["model/context=small", *SMALL_CONTEXT]
    names = [NAMES.get(conditioner, conditioner) for conditioner in conditioners]
    return chosen + [f"model.conditioners.{name}.{setting}" for name in names for setting in SMALL.get(name, [])]


def composed(*overrides: str) -> DictConfig:
    """The config that `train` would have."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def build_model(*overrides: str) -> WaveNet:
    """The model that `train` would build, tiny and with categories of its own."""
    return build_full_size(*TINY, *overrides)


def build_full_size(*overrides: str) -> WaveNet:
    """The model that `train` would build, with categories of its own."""
    cfg = composed(*overrides)
    for name, conditioner in (cfg.model.get("conditioners") or {}).items():
        if "categories" in conditioner and conditioner.categories is None:
            conditioner.categories = CATEGORIES[name]
    return instantiate(cfg.model, _convert_="all")


def conditions_for(model: WaveNet, batch: int, samples: int) -> dict[str, Any]:
    """Something else for each utterance and each frame."""
    told: dict[str, Any] = {}
    for name, conditioner in model.conditioners.items():
        features: Any = conditioner.features
        if features is None:
            told[name] = [CATEGORIES[name][k % 2] for k in range(batch)]
        else:
            told[name] = torch.randn(batch, features.num_channels, features.num_frames(samples))
            if name == "f0":  # Hz, with pauses
                told[name] = (150 + 100 * told[name]).clamp(min=0)
    return told
