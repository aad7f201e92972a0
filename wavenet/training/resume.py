"""Checks of a training checkpoint before a run resumes from it.

Besides weights these are the states of the optimizer, the schedule, the loops and the callbacks, which
Lightning hands to their owners as they are. Owners do not doubt them: a schedule lets its state replace its
own methods. So all of it must be what a run of this package would have saved, in structure and kind, before
Lightning sees the file.
"""

import math
import re
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from wavenet.checkpoint import TrainingCheckpoint, Trust, check_state, model_state, read_training_checkpoint, refusing
from wavenet.model import WaveNet
from wavenet.training.optimizer import OptimizerFactory, check_optimizer_state, weight_decay_groups

_REQUIRED = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")
_OLDEST_LIGHTNING = (2, 6)  # an older one's checkpoint would be rewritten first
_NUMBERS = {"lr", "betas", "eps", "weight_decay"}  # that every version of AdamW has
_CALLBACKS = {
    "ExponentialMovingAverage": {"latest_update_step": 0},
    "LastCheckpoint": {"validation_due": False},
    "DivergenceMonitor": {"steps": 0, "learnt": False, "said": False},
}
_ENTRIES = {"step", "train/bits_per_sample", "learning_rate", "samples_per_second"}
_AVERAGING = {"n_averaged": torch.tensor(0)}
_SCALER = {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 1, "_growth_tracker": 0}


def read_resumable(path: Path, trust: Trust = (), optimizer: OptimizerFactory | None = None) -> TrainingCheckpoint:
    """Check a training checkpoint before a run resumes from it.

    Args:
        path: The file.
        trust: Modules whose classes the model may be made of; see `wavenet.checkpoint.trust`.
        optimizer: Makes the run's optimizer, as for `WaveNetTraining`; None is AdamW.

    Returns:
        The model that it describes, on the meta device, and what it holds.

    Raises:
        CheckpointError: If it is not what a run of this package saves.
    """
    checkpoint = read_training_checkpoint(path, trust)
    with refusing(path):
        _check(checkpoint.contents, checkpoint.model, optimizer)
    return checkpoint


def _check(contents: dict[str, Any], model: WaveNet, optimizer: OptimizerFactory | None) -> None:
    for name in _REQUIRED:
        if name not in contents:
            raise ValueError(f"has no '{name}'; only a run's own checkpoints can be resumed")
    version = re.match(
        r"(\d{1,4})\.(\d{1,4})\.\w{1,20}([.+]\w{1,40})*$", str(contents.get("pytorch-lightning_version"))
    )
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_LIGHTNING:
        raise ValueError(
            f"is of Lightning {contents.get('pytorch-lightning_version')!r:.40}; resume needs 2.6 or newer"
        )
    for name in ("state_dict", "current_model_state"):
        if name in contents:
            _check_weights(name, contents[name], model)
    if ("current_model_state" in contents) != ("averaging_state" in contents):
        raise ValueError("has the weights' average without the weights, or the other way round")
    _like("averaging_state", contents.get("averaging_state", _AVERAGING), _AVERAGING)
    states = _only("optimizer_states", contents["optimizer_states"])
    if optimizer is None:
        _check_optimizer(states, model)
    else:
        check_optimizer_state(states, optimizer, model)
    _check_schedule(_only("lr_schedulers", contents["lr_schedulers"]), len(weight_decay_groups(model)))
    _check_progress(contents)
    callbacks = contents["callbacks"]
    if not isinstance(callbacks, dict):
        raise ValueError("callbacks is no dict")
    for name, state in callbacks.items():
        _check_callback(str(name), state)
    if "MixedPrecision" in contents:
        _like("MixedPrecision", contents["MixedPrecision"], _SCALER)


def _like(place: str, given: Any, own: Any) -> None:
    """Check that a state has the structure of a run's own: the same names, types and shapes, and finite numbers."""
    if isinstance(own, dict):
        if not isinstance(given, dict) or given.keys() != own.keys():
            raise ValueError(f"{place} holds other entries than a run's own")
        for name, part in own.items():
            _like(f"{place}.{name}", given[name], part)
    elif isinstance(own, list | tuple):
        if not isinstance(given, list | tuple) or len(given) != len(own):
            raise ValueError(f"{place} is not a list of {len(own)}")
        for index, part in enumerate(own):
            _like(f"{place}[{index}]", given[index], part)
    elif isinstance(own, Tensor):
        _like_tensor(place, given, own)
    elif own is None or isinstance(own, bool):
        if given is not None and not isinstance(given, bool):
            raise ValueError(f"{place} is {given!r:.40}; it must be true or false")
    elif isinstance(given, bool) or not isinstance(given, int if isinstance(own, int) else int | float):
        raise ValueError(f"{place} is {given!r:.40}; it must be a number")
    elif not 0 <= given < 2**53:
        raise ValueError(f"{place} is {given}; a run's own is 0 or more, and finite")


def _like_tensor(place: str, given: Any, own: Tensor) -> None:
    if not isinstance(given, Tensor) or given.shape != own.shape:
        raise ValueError(f"{place} is not a tensor of shape {tuple(own.shape)}")
    if given.dtype.is_floating_point != own.dtype.is_floating_point or not bool(given.isfinite().all()):
        raise ValueError(f"{place} holds NaN or infinite numbers, or is of another type than a run's own")


def _only(place: str, states: Any) -> dict[str, Any]:
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], dict):
        raise ValueError(f"{place} is not a list of one state")
    return states[0]


def _check_weights(place: str, state: Any, model: WaveNet) -> None:
    weights = model_state(state)
    if len(weights) != len(state):
        raise ValueError(f"{place} holds other weights than the model's")
    check_state(weights, model)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise ValueError(f"{place} holds NaN or infinite numbers")


def _check_optimizer(state: dict[str, Any], model: WaveNet) -> None:
    groups = weight_decay_groups(model)
    own = _optimizer(len(groups)).state_dict()["param_groups"]
    if state.keys() != {"state", "param_groups"} or not isinstance(state["param_groups"], list):
        raise ValueError("optimizer_states is not of an optimizer")
    if len(state["param_groups"]) != len(own):
        raise ValueError(f"optimizer_states is not of {len(own)} groups of parameters")
    first = 0
    for index, members in enumerate(groups):
        place, given = f"optimizer_states.param_groups[{index}]", state["param_groups"][index]
        numbers = list(range(first, first + len(members)))
        usual = {name: value for name, value in own[index].items() if name in given or name in _NUMBERS}
        _like(place, given, usual | {"params": numbers})
        flags = [name for name, value in usual.items() if value is None or isinstance(value, bool)]
        if list(given["params"]) != numbers or any(given[name] != usual[name] for name in flags if name != "fused"):
            raise ValueError(f"{place} is not of a run's own AdamW")
        first += len(members)
    parameters = dict(enumerate(parameter for members in groups for parameter in members))
    if not isinstance(state["state"], dict) or not state["state"].keys() <= parameters.keys():
        raise ValueError("optimizer_states.state is of other parameters")
    for index, given in state["state"].items():
        place, like_it = f"optimizer_states.state[{index}]", parameters[index].detach()
        _like(place, given, {"step": torch.tensor(0.0), "exp_avg": like_it, "exp_avg_sq": like_it})
        if bool((given["exp_avg_sq"] < 0).any()) or given["step"] < 0:
            raise ValueError(f"{place} holds negative numbers where there are none")


def _check_schedule(state: dict[str, Any], num_groups: int) -> None:
    own = LambdaLR(_optimizer(num_groups), lambda step: 1.0).state_dict()
    for name in state.keys() - own.keys():  # another version of torch may have more numbers, but no methods
        if hasattr(LambdaLR, str(name)) or name == "optimizer" or not isinstance(state[name], int | float):
            raise ValueError(f"lr_schedulers holds {name!r:.40}, which is not a schedule's state")
    for name in ("base_lrs", "last_epoch", "lr_lambdas", *(own.keys() & state.keys())):
        _like(f"lr_schedulers.{name}", state.get(name), own[name])


def _check_progress(contents: dict[str, Any]) -> None:
    _like("progress", {name: contents[name] for name in ("epoch", "global_step")}, {"epoch": 0, "global_step": 0})
    trainer = L.Trainer(  # which only shows what a loop's state is; the machine's cluster is not its business
        accelerator="cpu", devices=1, plugins=[LightningEnvironment()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, max_steps=1,
    )  # fmt: skip
    loops = contents["loops"]
    if not isinstance(loops, dict):
        raise ValueError("loops is no dict")
    _like("loops.fit_loop", loops.get("fit_loop"), trainer.fit_loop.state_dict())


def _check_callback(name: str, state: Any) -> None:
    """Check that it is the state of one of this package's callbacks, none of which reads a path from it."""
    if name in _CALLBACKS:
        _like(name, state, _CALLBACKS[name])
        return
    right = isinstance(state, dict)
    if right and name == "BestCheckpoint":
        right = state.keys() == {"best"} and _is_number(state["best"]) and not math.isnan(state["best"])
    elif right and name == "TrainingLog":
        entry = state.get("entry")
        right = isinstance(entry, dict) and entry.keys() <= _ENTRIES and all(map(_is_number, entry.values()))
    else:
        right = False
    if not right:
        raise ValueError(f"callbacks.{name:.40} is not a run's own")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _optimizer(num_groups: int) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(num_groups)])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
