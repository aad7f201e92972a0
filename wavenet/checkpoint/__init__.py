"""Saved models and training checkpoints: written, checked, and loaded again. Other rooms import from here only.

Every file is treated as one from an unknown source. Loading goes straight through these steps:

1. `location`: a path, a run's folder, or a name in the package (`packaged`) or on the Hugging Face Hub, becomes a file
   or a folder here;
2. `plain_data`, `safetensors_file`, `torch_file`: what it says that it holds is read, and nothing of it is run;
3. `upgrade`: what earlier versions wrote is brought to the format of this one;
4. `validation`: the model that it describes is built without memory, of this package's own classes and those of modules
   that the caller trusts (`trust`), and must need just these tensors;
5. the tensors are read, and the model is built.
"""

from wavenet.checkpoint.constructors import check_arguments, constructor_parameters, takes_any
from wavenet.checkpoint.description import build, describe, modules_of
from wavenet.checkpoint.errors import CheckpointError, UntrustedError, refusing
from wavenet.checkpoint.folder import save
from wavenet.checkpoint.loading import load
from wavenet.checkpoint.location import find
from wavenet.checkpoint.metadata import check_metadata, entry_at, number_at, printable, text_at
from wavenet.checkpoint.packaged import in_package, packaged_models
from wavenet.checkpoint.plain_data import TensorPlan, check_file, check_json, check_plain, read_json, read_text
from wavenet.checkpoint.push import push_to_hub
from wavenet.checkpoint.reconstruction import check_reconstructs
from wavenet.checkpoint.torch_file import check_sums, plan_of_archive, plan_of_stream
from wavenet.checkpoint.training_file import TrainingCheckpoint, model_state, read_training_checkpoint
from wavenet.checkpoint.trust import Trust as Trust
from wavenet.checkpoint.trust import (
    allowed_class,
    check_trust,
    dataset_class,
    is_own,
    module_class,
    optimizer_class,
)
from wavenet.checkpoint.upgrade import FORMAT_VERSION as FORMAT_VERSION
from wavenet.checkpoint.upgrade import upgrade_model, upgrade_training_checkpoint
from wavenet.checkpoint.validation import build_on_meta, check_state

__all__ = [
    "CheckpointError",
    "TensorPlan",
    "TrainingCheckpoint",
    "UntrustedError",
    "allowed_class",
    "build",
    "build_on_meta",
    "check_arguments",
    "check_file",
    "check_json",
    "check_metadata",
    "check_plain",
    "check_reconstructs",
    "check_state",
    "check_sums",
    "check_trust",
    "constructor_parameters",
    "dataset_class",
    "describe",
    "entry_at",
    "find",
    "in_package",
    "is_own",
    "load",
    "model_state",
    "module_class",
    "modules_of",
    "number_at",
    "optimizer_class",
    "packaged_models",
    "plan_of_archive",
    "plan_of_stream",
    "printable",
    "push_to_hub",
    "read_json",
    "read_text",
    "read_training_checkpoint",
    "refusing",
    "save",
    "takes_any",
    "text_at",
    "upgrade_model",
    "upgrade_training_checkpoint",
]
