"""Conditioning of a model on something besides the past samples: a speaker's name, or features that change with time.

`Conditioner` is the interface, and `FrameConditioner` the base class for features in frames. A new one is a class
that implements it, and a YAML in `configs/model/conditioners/`.
"""

from wavenet.conditioning.base import Conditioner
from wavenet.conditioning.categorical import CategoricalEmbedding
from wavenet.conditioning.f0 import F0Conditioner
from wavenet.conditioning.feature_scale import check_scale, statistics_of
from wavenet.conditioning.file_features import FileConditioner
from wavenet.conditioning.frames import FrameConditioner
from wavenet.conditioning.mel import MelConditioner

__all__ = [
    "CategoricalEmbedding",
    "Conditioner",
    "F0Conditioner",
    "FileConditioner",
    "FrameConditioner",
    "MelConditioner",
    "check_scale",
    "statistics_of",
]
