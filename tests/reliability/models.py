"""Models of the default size, or tiny ones, that say something although nobody trained them."""

from typing import Any

import torch
from hydra.utils import instantiate

from tests.configured import SMALL, SMALL_CONTEXT, composed
from tests.conftest import PROMPTS, TINY, lively
from wavenet import WaveNet
from wavenet.audio import read, resample

KINDS = {
    "mu-law": [],
    "logistic mixture": ["model/distribution=logistic_mixture"],
    "vocoder": ["experiment=vocoder"],
    "context stack": ["model/context=small"],
}
_TINY = {
    "vocoder": [f"model.conditioners.mel.{setting}" for setting in SMALL["mel"]],
    "context stack": SMALL_CONTEXT,
}
SPEAKERS = ["allison", "carlo", "june"]


def make(kind: str, tiny: bool = False, seed: int = 0) -> WaveNet:
    """A model of that kind, of the default size or tiny, whose samples are all over the range."""
    cfg = composed(*KINDS[kind], *(TINY if tiny else []), *(_TINY.get(kind, []) if tiny else []))
    if "speaker" in cfg.model.conditioners:
        cfg.model.conditioners.speaker.categories = SPEAKERS
    torch.manual_seed(seed)
    return lively(instantiate(cfg.model, _convert_="all")).eval()


def conditions_for(model: WaveNet, samples: int, speaker: int = 0) -> dict[str, Any]:
    """Conditions for so many samples: a speaker, or the features of a real recording, over and over."""
    names: dict[str, Any] = {}
    for name, conditioner in model.conditioners.items():
        if conditioner.features is None:
            categories: Any = conditioner.categories
            names[name] = categories[speaker % len(categories)]
        else:
            features: Any = conditioner.features
            recording = resample(*read(PROMPTS / "june" / "june_001.flac"), model.sample_rate)
            frames = features.extract(recording)
            wanted = features.num_frames(samples)
            names[name] = frames.repeat(1, -(-wanted // frames.shape[1]))[:, :wanted]
    return names
