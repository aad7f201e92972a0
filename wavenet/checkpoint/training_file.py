"""A training checkpoint: a model's description and weights, beside all that a run needs to resume."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wavenet.checkpoint.errors import refusing
from wavenet.checkpoint.metadata import check_metadata
from wavenet.checkpoint.plain_data import check_file
from wavenet.checkpoint.scores import scores_of
from wavenet.checkpoint.torch_file import check_sums, plan_of_archive
from wavenet.checkpoint.trust import Trust
from wavenet.checkpoint.upgrade import upgrade_training_checkpoint
from wavenet.checkpoint.validation import build_checked_on_meta, check_finite
from wavenet.model import WaveNet

_ROOM = 64 * 2**20  # bytes of a training checkpoint beside eight times its weights


class TrainingCheckpoint(NamedTuple):
    """What is in a training checkpoint.

    Attributes:
        model: The model that it describes, on the meta device: without weights.
        contents: Its plain data and tensors.
    """

    model: WaveNet
    contents: dict[str, Any]


def read_training_checkpoint(path: Path, trust: Trust = ()) -> TrainingCheckpoint:
    """Read a training checkpoint's plain data and tensors.

    Args:
        path: The file.
        trust: Modules whose classes the model may be made of; see `wavenet.checkpoint.trust`.

    Raises:
        CheckpointError: If it is damaged, holds objects that would have to be run or much more than a
            model's training needs, or its weights do not fit the model that it describes.
    """
    with refusing(path, "not a checkpoint that can be loaded safely"):
        plan = plan_of_archive(path)
    with refusing(path):
        if not isinstance(plan, dict) or not {"wavenet", "state_dict"} <= plan.keys():
            raise ValueError("not a checkpoint of this package (it has no 'wavenet' entry)")
        plan = upgrade_training_checkpoint(plan)
        model = build_checked_on_meta(plan["wavenet"], model_state(plan["state_dict"]), trust)
        check_file(path, 8 * sum(tensor.nbytes for tensor in model.state_dict().values()) + _ROOM)
        check_sums(path)
        contents = upgrade_training_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
        check_finite(model_state(contents["state_dict"]))
    return TrainingCheckpoint(model, contents)


def read_trained_model(path: Path, trust: Trust = ()) -> tuple[WaveNet, dict[str, Tensor]]:
    """Read the model of a training checkpoint, on the meta device, and its averaged weights; see `wavenet.load`.

    Its metadata gets the scores of `wavenet evaluate`, if they lie in the run's folder.
    """
    model, contents = read_training_checkpoint(path, trust)
    if scores := scores_of(path):
        with suppress(ValueError):  # the metadata is as long as it may be
            model.metadata = check_metadata({**(model.metadata or {}), "evaluation": scores})
    return model, model_state(contents["state_dict"])


def model_state(state: Any) -> dict[str, Any]:
    """The model's tensors of a training checkpoint's `state_dict`, under their own names.

    Raises:
        ValueError: If it is not a dict.
    """
    if not isinstance(state, dict):
        raise ValueError("its state_dict is not a dict")
    return {str(name)[6:]: tensor for name, tensor in state.items() if str(name).startswith("model.")}
