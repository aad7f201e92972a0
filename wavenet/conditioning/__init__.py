"""What a model is told besides the samples so far: who speaks, or features that change with time.

`Conditioner` is their contract, `FrameConditioner` that of those that change with time; a new one is a class
that keeps it, and a YAML in `configs/model/conditioners/`.
"""

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
