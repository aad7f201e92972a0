"""A model from a saved folder, a training checkpoint, the package or the Hugging Face Hub."""

import os

import torch
from torch import Tensor

from wavenet.checkpoint.description import build, describe, targets_of
from wavenet.checkpoint.errors import refusing
from wavenet.checkpoint.folder import read_folder
from wavenet.checkpoint.location import find
from wavenet.checkpoint.training_file import read_trained_model
from wavenet.checkpoint.trust import Trust, check_trust, is_own
from wavenet.model import WaveNet


def load(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    revision: str | None = None,
    trust: Trust = (),
) -> WaveNet:
    """Load a model for generation or evaluation.

    Args:
        path: A folder written by `save`; or a run's folder, of which the best checkpoint is taken;
            or a training checkpoint (.ckpt), of which the averaged weights are taken; or the name of a model of the
            package, such as "babble"; or the name "owner/name" of a repository on the Hugging Face Hub; see `find`.
        device: Where to put it.
        revision: Of a repository: a branch, a tag or a commit; None is main.
        trust: Modules of your own, or of somebody whom you trust, whose classes the model may be made of, such as
            ["mymodel"] for `mymodel.Scaled`. Their code is run; they are looked for as Python does, then in the
            current folder.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If the file is missing, damaged or from elsewhere, or names a class that is
            neither this package's nor of a trusted module. Nothing in the file is run. Or if a repository is
            missing or cannot be reached.
        ValueError: If there is no such device, or trust is no list of modules.
    """
    trust = check_trust(trust)
    path = find(path, revision, trust)
    model, state = read_folder(path, trust) if path.is_dir() else read_trained_model(path, trust)
    with refusing(path):
        model = _with_weights(model, state, trust)
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it has no memory for weights")
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device}: not available here ({str(error).splitlines()[0]}); use device=cpu"
        ) from error


def _with_weights(outline: WaveNet, state: dict[str, Tensor], trust: Trust) -> WaveNet:
    """Give a model on the meta device its weights.

    One with classes of the user's is built once more: what their constructors compute need not be among the weights.
    """
    config = describe(outline)
    if all(map(is_own, targets_of(config))):
        outline.load_state_dict(state, assign=True)
        return outline
    with torch.random.fork_rng(devices=[]):
        model = build(config, trust)
    model.to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point()))
    model.load_state_dict(state)
    model.metadata = outline.metadata
    return model
