"""A model as a folder of `config.json` and `model.safetensors`, and how to get one back.

Every file is treated as a stranger's. First it is only asked what it holds (see `untrusted`); the model
that it describes is built without memory, from this package's own classes, and must want just these
tensors; only then are they read. Classes from elsewhere are built if the caller trusts their modules (see `trust`).
"""

from wavenet.checkpoint.description import build, describe, modules_of
from wavenet.checkpoint.errors import CheckpointError, UntrustedError, refusing
from wavenet.checkpoint.folder import save
from wavenet.checkpoint.loading import find, load
from wavenet.checkpoint.push import push_to_hub
from wavenet.checkpoint.reconstruction import check_reconstructs
from wavenet.checkpoint.training_file import TrainingCheckpoint, model_state, read_training_checkpoint
from wavenet.checkpoint.trust import allowed_class, check_trust, dataset_class, module_class, optimizer_class
from wavenet.checkpoint.validation import build_on_meta, check_state

__all__ = [
    "CheckpointError",
    "TrainingCheckpoint",
    "UntrustedError",
    "allowed_class",
    "build",
    "build_on_meta",
    "check_reconstructs",
    "check_state",
    "check_trust",
    "dataset_class",
    "describe",
    "find",
    "load",
    "model_state",
    "module_class",
    "modules_of",
    "optimizer_class",
    "push_to_hub",
    "read_training_checkpoint",
    "refusing",
    "save",
]
