"""Conditioners: `base` has their contract, `frames` that of those that change with time, other files one each."""

from wavenet.conditioning.base import Conditioner
from wavenet.conditioning.categorical import CategoricalEmbedding
from wavenet.conditioning.f0 import F0Conditioner
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
]
