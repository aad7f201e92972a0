"""Checks of a training checkpoint before a run resumes from it.

Besides weights a checkpoint holds the states of the optimizer, the schedule, the loops and the callbacks, which
Lightning passes on unchecked. The objects do not check them either: a schedule's state can replace its methods.
So everything must have the structure and types that a run of this package saves, before Lightning reads the file.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, Timer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from wavenet.checkpoint import TrainingCheckpoint, Trust, check_state, model_state, read_training_checkpoint, refusing
from wavenet.model import WaveNet
from wavenet.training.callbacks import EarlyStopping
from wavenet.training.likeness import check_like
from wavenet.training.optimizer import (
    OptimizerFactory,
    check_optimizer_state,
    check_parameter_state,
    weight_decay_groups,
)
from wavenet.training.transfer import freeze

_REQUIRED = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")
_OLDEST_LIGHTNING = (2, 6)  # checkpoints of older versions would be rewritten first
_NUMBERS = {"lr", "betas", "eps", "weight_decay"}  # settings in every version of AdamW
_CALLBACKS = {
    "ExponentialMovingAverage": {"latest_update_step": 0},
    "LastCheckpoint": {"validation_due": False},
    "DivergenceMonitor": {"steps": 0, "learnt": False, "said": False},
    "Timer": {"time_elapsed": dict.fromkeys(Timer().state_dict()["time_elapsed"], 0.0)},  # seconds
}
_ENTRIES = {"step", "train/bits_per_sample", "train/gradient_norm", "learning_rate", "samples_per_second"}
_AVERAGING = {"n_averaged": torch.tensor(0)}
_SCALER = {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 1, "_growth_tracker": 0}


def read_resumable(
    path: Path,
    trust: Trust = (),
    optimizer: OptimizerFactory | None = None,
    callbacks: Sequence[Callback] = (),
    frozen: Sequence[str] = (),
) -> TrainingCheckpoint:
    """Check a training checkpoint before a run resumes from it.

    Args:
        path: The file.
        trust: Modules whose classes the model may use; see `wavenet.checkpoint.trust`.
        optimizer: Creates the run's optimizer, as for `WaveNetTraining`; None is AdamW.
        callbacks: Callbacks of the run's own choice, whose states it may have as well.
        frozen: Parts of the model that are not trained; see `freeze`.

    Returns:
        The model that it describes, on the meta device, and what it holds.

    Raises:
        CheckpointError: If it is not what a run of this package saves.
    """
    checkpoint = read_training_checkpoint(path, trust)
    with refusing(path):
        freeze(checkpoint.model, list(frozen))
        _check(checkpoint.contents, checkpoint.model, optimizer, callbacks)
    return checkpoint


def _check(
    contents: dict[str, Any], model: WaveNet, optimizer: OptimizerFactory | None, chosen: Sequence[Callback]
) -> None:
    for name in _REQUIRED:
        if name not in contents:
            raise ValueError(f"has no '{name}'; only checkpoints saved by a run can be resumed")
    version = re.match(
        r"(\d{1,4})\.(\d{1,4})\.\w{1,20}([.+]\w{1,40})*$", str(contents.get("pytorch-lightning_version"))
    )
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_LIGHTNING:
        raise ValueError(
            f"was saved by Lightning {contents.get('pytorch-lightning_version')!r:.40}; resume needs 2.6 or newer"
        )
    for name in ("state_dict", "current_model_state"):
        if name in contents:
            _check_weights(name, contents[name], model)
    if ("current_model_state" in contents) != ("averaging_state" in contents):
        raise ValueError("has only one of the weights and their average")
    check_like("averaging_state", contents.get("averaging_state", _AVERAGING), _AVERAGING)
    states = _only("optimizer_states", contents["optimizer_states"])
    if optimizer is None:
        num_groups = _check_optimizer(states, model)
    else:
        num_groups = len(check_optimizer_state(states, optimizer, model).param_groups)
    _check_schedule(_only("lr_schedulers", contents["lr_schedulers"]), num_groups)
    _check_progress(contents)
    _check_callbacks(contents["callbacks"], chosen)
    if "MixedPrecision" in contents:
        check_like("MixedPrecision", contents["MixedPrecision"], _SCALER)
    if "SegmentData" in contents:
        check_like("SegmentData", contents["SegmentData"], {"segments": 0})


def _only(place: str, states: Any) -> dict[str, Any]:
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], dict):
        raise ValueError(f"{place} is not a list of one state")
    return states[0]


def _check_weights(place: str, state: Any, model: WaveNet) -> None:
    weights = model_state(state)
    if len(weights) != len(state):
        raise ValueError(f"{place} has other weights than the model")
    check_state(weights, model)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise ValueError(f"{place} holds NaN or infinite numbers")


def _check_optimizer(state: dict[str, Any], model: WaveNet) -> int:
    """Check the state of AdamW, and return how many groups of parameters it has."""
    groups = weight_decay_groups(model)
    expected = _optimizer(len(groups)).state_dict()["param_groups"]
    if state.keys() != {"state", "param_groups"} or not isinstance(state["param_groups"], list):
        raise ValueError("optimizer_states is not the state of an optimizer")
    if len(state["param_groups"]) != len(expected):
        raise ValueError(f"optimizer_states does not have {len(expected)} groups of parameters")
    first = 0
    for index, members in enumerate(groups):
        place, loaded = f"optimizer_states.param_groups[{index}]", state["param_groups"][index]
        numbers = list(range(first, first + len(members)))
        usual = {name: value for name, value in expected[index].items() if name in loaded or name in _NUMBERS}
        check_like(place, loaded, usual | {"params": numbers})
        flags = [name for name, value in usual.items() if value is None or isinstance(value, bool)]
        if list(loaded["params"]) != numbers or any(loaded[name] != usual[name] for name in flags if name != "fused"):
            raise ValueError(f"{place} is not a group of AdamW as a run uses it")
        first += len(members)
    parameters = dict(enumerate(parameter for members in groups for parameter in members))
    if not isinstance(state["state"], dict) or not state["state"].keys() <= parameters.keys():
        raise ValueError("optimizer_states.state is for other parameters")
    for index, loaded in state["state"].items():
        place, parameter = f"optimizer_states.state[{index}]", parameters[index].detach()
        expected_state = {"step": torch.tensor(0.0), "exp_avg": parameter, "exp_avg_sq": parameter}
        check_parameter_state(place, loaded, expected_state)
    return len(groups)


def _check_schedule(state: dict[str, Any], num_groups: int) -> None:
    expected = LambdaLR(_optimizer(num_groups), lambda step: 1.0).state_dict()
    for name in state.keys() - expected.keys():  # another version of torch may have more numbers, but no methods
        if hasattr(LambdaLR, str(name)) or name == "optimizer" or not isinstance(state[name], int | float):
            raise ValueError(f"lr_schedulers holds {name!r:.40}, which is not a schedule's state")
    for name in ("base_lrs", "last_epoch", "lr_lambdas", *(expected.keys() & state.keys())):
        check_like(f"lr_schedulers.{name}", state.get(name), expected[name])


def _check_progress(contents: dict[str, Any]) -> None:
    check_like("progress", {name: contents[name] for name in ("epoch", "global_step")}, {"epoch": 0, "global_step": 0})
    trainer = L.Trainer(  # only for the structure of a loop's state; it must not detect the machine's cluster
        accelerator="cpu", devices=1, plugins=[LightningEnvironment()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, max_steps=1,
    )  # fmt: skip
    loops = contents["loops"]
    if not isinstance(loops, dict):
        raise ValueError("loops is not a dict")
    check_like("loops.fit_loop", loops.get("fit_loop"), trainer.fit_loop.state_dict())


def _check_callbacks(states: Any, chosen: Sequence[Callback]) -> None:
    if not isinstance(states, dict):
        raise ValueError("callbacks is not a dict")
    others = {callback.state_key for callback in chosen if not isinstance(callback, EarlyStopping)}
    for name, state in states.items():
        if name not in others:  # those are of classes that the user trusts; only plain data is read at all
            _check_callback(str(name), state)


def _check_callback(name: str, state: Any) -> None:
    """Check that this is the state of one of this package's callbacks, none of which reads a path from it."""
    if name in _CALLBACKS:
        check_like(name, state, _CALLBACKS[name])
        return
    valid = isinstance(state, dict)
    if valid and name == "BestCheckpoint":
        valid = state.keys() == {"best"} and _is_number(state["best"]) and not math.isnan(state["best"])
    elif valid and name == "EarlyStopping":
        valid = state.keys() == {"best", "waited"} and _is_number(state["best"]) and not math.isnan(state["best"])
        valid = valid and type(state["waited"]) is int and state["waited"] >= 0
    elif valid and name == "TrainingLog":
        entry = state.get("entry")
        valid = isinstance(entry, dict) and entry.keys() <= _ENTRIES and all(map(_is_number, entry.values()))
    else:
        valid = False
    if not valid:
        raise ValueError(f"callbacks.{name:.40} is not the state of a callback that a run has")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _optimizer(num_groups: int) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(num_groups)])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
