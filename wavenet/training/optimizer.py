"""The optimizer of a run: AdamW, Muon, SOAP, or another class, of torch or the user's own."""

import functools
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wavenet.checkpoint import constructor_parameters
from wavenet.model import WaveNet
from wavenet.optimizers import StackedOptimizer
from wavenet.optimizers.adjacent import place_adjacent
from wavenet.optimizers.roles import HIDDEN, OUTER, VECTOR
from wavenet.training.likeness import check_like

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
_EMBEDDING = "embedding"  # an outer matrix without weight decay
_MAX_DEPTH = 4  # of nested lists and dicts in a parameter's state


def weight_decay_groups(model: WaveNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split the parameters into those with weight decay, and biases and embeddings, each in the model's order.

    Those that are frozen (`requires_grad=False`) are left out.
    """
    learnt = _roles(model)
    decayed = [parameter for parameter, role in learnt if role in (HIDDEN, OUTER)]
    return decayed, [parameter for parameter, role in learnt if role not in (HIDDEN, OUTER)]


def groups_by_role(model: WaveNet) -> list[dict[str, Any]]:
    """Return groups of the parameters by their roles, see `wavenet.optimizers.StackedOptimizer`, in the model's order.

    Those that are frozen are left out. Vectors and embeddings have no weight decay.
    """
    members: dict[str, list[nn.Parameter]] = {HIDDEN: [], OUTER: [], _EMBEDDING: [], VECTOR: []}
    for parameter, role in _roles(model):
        members[role].append(parameter)
    free = {"weight_decay": 0.0}
    return [
        {"params": members[HIDDEN], "role": HIDDEN},
        {"params": members[OUTER], "role": OUTER},
        {"params": members[_EMBEDDING], "role": OUTER, **free},
        {"params": members[VECTOR], "role": VECTOR, **free},
    ]


def _roles(model: WaveNet) -> list[tuple[nn.Parameter, str]]:
    """Return the parameters that are not frozen, in the model's order, with their roles; embeddings are told apart."""
    outer = {id(parameter) for module in model.outer_modules for parameter in module.parameters()}
    found = []
    for name, parameter in model.named_parameters():
        matrix = _EMBEDDING if "embedding" in name else OUTER if id(parameter) in outer else HIDDEN
        if parameter.requires_grad:
            found.append((parameter, VECTOR if parameter.dim() < 2 else matrix))
    return found


def place_parameters_adjacent(model: WaveNet) -> None:
    """Place the parameters that are learnt next to each other in memory, those of one role and shape together.

    The optimizer, clipping and averaging then take them as one on a CPU; see `wavenet.optimizers.adjacent`.
    """
    groups = [group["params"] for group in groups_by_role(model)]
    ordered = [parameter for members in groups for parameter in sorted(members, key=lambda each: tuple(each.shape))]
    place_adjacent(ordered, others=[*model.parameters(), *model.buffers()])


def make_optimizer(maker: OptimizerFactory, model: WaveNet) -> Optimizer:
    """Create an optimizer for a model's parameters; weight decay, if the class has it, is on matrices only.

    Args:
        maker: Called with groups of parameters, as torch's optimizers take them: a class or a `functools.partial`
            of one, such as `partial(torch.optim.SGD, lr=0.01)`. There are two groups, matrices and others; a class
            with a true attribute `takes_roles` gets those of `groups_by_role`.
        model: The model.

    Raises:
        ValueError: If it does not return an optimizer, or one whose groups have no `lr` for the schedule to scale.
    """
    constructor = maker.func if isinstance(maker, functools.partial) else maker
    if getattr(constructor, "takes_roles", False):
        groups = groups_by_role(model)
    else:
        matrices, others = weight_decay_groups(model)
        free = {"weight_decay": 0.0} if "weight_decay" in constructor_parameters(constructor) else {}
        groups = [{"params": matrices}, {"params": others, **free}]
    name = getattr(constructor, "__name__", "the optimizer")
    try:
        optimizer = maker(groups)
    except Exception as error:  # whatever the user's own class may raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"optimizer: {name} refuses its settings or the model's parameters: {reason:.200}") from error
    if not isinstance(optimizer, Optimizer) or len(optimizer.param_groups) != len(groups):
        raise ValueError(
            f"optimizer: {name} did not return a torch.optim.Optimizer with the {len(groups)} groups of parameters"
        )
    if not all(isinstance(group.get("lr"), int | float | Tensor) for group in optimizer.param_groups):
        raise ValueError(f"optimizer: {name} has no lr in its groups, which the schedule scales; put it in defaults")
    return optimizer


def apply_settings(
    maker: OptimizerFactory, model: WaveNet, optimizer: Optimizer, scheduler: LambdaLR, factor: float
) -> None:
    """Give an optimizer and its schedule the settings of a new one, after a state with other settings was loaded.

    Of another package's optimizer, these are the settings that `maker` gives: its groups may hold more than settings.

    Args:
        maker: See `make_optimizer`.
        model: The model.
        optimizer: The optimizer of the model's parameters, which is changed.
        scheduler: Its schedule, which is changed.
        factor: The schedule's present factor of the learning rate.
    """
    new = make_optimizer(maker, model)
    given = maker.keywords.keys() if isinstance(maker, functools.partial) else set()
    for index, (group, settings) in enumerate(zip(optimizer.param_groups, new.param_groups, strict=True)):
        names = settings.keys() if isinstance(new, StackedOptimizer) else given & settings.keys()
        group.update({name: settings[name] for name in names if name not in ("params", "lr")})
        lr = float(settings["lr"])
        group["initial_lr"] = scheduler.base_lrs[index] = lr
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * factor)
        else:
            group["lr"] = lr * factor


def check_optimizer_state(state: dict[str, Any], maker: OptimizerFactory, model: WaveNet) -> Optimizer:
    """Check that a state fits this optimizer: its groups, and plain numbers for parameters that exist.

    Of this package's own optimizers, the states of the parameters must have their names, shapes and types.

    Args:
        state: The optimizer's state from a file.
        maker: See `make_optimizer`.
        model: The model, which may be on the meta device.

    Returns:
        The optimizer, without the state.

    Raises:
        ValueError: Names what differs.
    """
    optimizer = make_optimizer(maker, model)
    expected = optimizer.state_dict()["param_groups"]
    for group in expected:
        group["initial_lr"] = group["lr"]  # added by the schedule
    if state.keys() != {"state", "param_groups"} or not isinstance(state["param_groups"], list):
        raise ValueError("optimizer_states is not the state of an optimizer")
    if len(state["param_groups"]) != len(expected):
        raise ValueError(f"optimizer_states does not have {len(expected)} groups of parameters")
    for index, (loaded, usual) in enumerate(zip(state["param_groups"], expected, strict=True)):
        place = f"optimizer_states.param_groups[{index}]"
        if not isinstance(loaded, dict) or not usual.keys() <= loaded.keys():
            raise ValueError(f"{place} holds other entries than the run's optimizer has")
        if loaded["params"] != usual["params"]:
            raise ValueError(f"{place} is for other parameters")
        for name, value in loaded.items():
            if not isinstance(name, str) or name.startswith("__"):
                raise ValueError(f"{place} holds {name!r:.40}, which is not a setting of an optimizer")
            _check_plain(f"{place}.{name}", value)
            if name in usual and _value_type(value) != _value_type(usual[name]) and None not in (value, usual[name]):
                raise ValueError(f"{place}.{name} is {value!r:.40}; a run's own is like {usual[name]!r:.40}")
    _check_states(state["state"], optimizer)
    return optimizer


def _check_states(states: Any, optimizer: Optimizer) -> None:
    """Check the states of single parameters."""
    pairs = [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(states, dict) or not states.keys() <= set(range(len(pairs))):
        raise ValueError("optimizer_states.state is for other parameters")
    for index, loaded in states.items():
        place = f"optimizer_states.state[{index}]"
        if not isinstance(loaded, dict):
            raise ValueError(f"{place} is not a dict")
        _check_plain(place, loaded)
        if isinstance(optimizer, StackedOptimizer):
            check_parameter_state(place, loaded, optimizer.expected_state(*pairs[index]))


def check_parameter_state(place: str, loaded: Any, expected: dict[str, Tensor]) -> None:
    """Check that the state of a parameter has the structure of an expected one, and no negative second moment.

    Raises:
        ValueError: Names the place that differs.
    """
    check_like(place, loaded, expected)
    if any(bool((loaded[name] < 0).any()) for name in ("step", "exp_avg_sq") if name in loaded):
        raise ValueError(f"{place} has a negative step or exp_avg_sq")


def _value_type(value: Any) -> str:
    names = {bool: "flag", int: "number", float: "number", list: "list", tuple: "list"}
    return names.get(type(value), type(value).__name__)


def _check_plain(place: str, value: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{place} is nested too deeply")
    if isinstance(value, dict | list | tuple):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(f"{place}.{name!s:.40}", item, depth + 1)
    elif isinstance(value, Tensor):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{place} holds NaN or infinite numbers")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; it must be finite")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{place} is a {type(value).__name__}; an optimizer's state has numbers and tensors")
