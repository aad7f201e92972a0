"""A model as a folder of `config.json` and `model.safetensors`, and how to get one back.

Every file is treated as a stranger's. First it is only asked what it holds (see `untrusted`); the model
that it describes is built without memory, from this package's own classes, and must want just these
tensors; only then are they read.
"""

from wavenet.checkpoint.description import allowed_class, build, describe
from wavenet.checkpoint.error import CheckpointError, refusing
from wavenet.checkpoint.folder import save
from wavenet.checkpoint.loading import find, load
from wavenet.checkpoint.push import push_to_hub
from wavenet.checkpoint.strangers import build_without_memory, check_state
from wavenet.checkpoint.training_file import TrainingCheckpoint, model_state, read_training_checkpoint

__all__ = [
    "CheckpointError",
    "TrainingCheckpoint",
    "allowed_class",
    "build",
    "build_without_memory",
    "check_state",
    "describe",
    "find",
    "load",
    "model_state",
    "push_to_hub",
    "read_training_checkpoint",
    "refusing",
    "save",
]
