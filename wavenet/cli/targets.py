"""Which classes a `_target_` may name, depending on the group of settings that contains it."""

import re
from collections.abc import Sequence
from typing import Any

from wavenet.checkpoint import Trust, allowed_class, dataset_class, is_own, module_class, modules_of, optimizer_class
from wavenet.cli.schema import is_dataset
from wavenet.data import Mix
from wavenet.model import WaveNet

WANDB = "wavenet.training.wandb_log.WandbLog"
LOGGERS = ("lightning.pytorch.loggers.TensorBoardLogger", "wavenet.training.log.CSVLog", WANDB)
CALLBACKS = (
    "wavenet.training.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.DeviceStatsMonitor",
)
SCHEDULE = (
    "schedule",
    "warmup_steps",
    "final_lr_fraction",
    "decay_fraction",
)  # in the optimizer's group, but not passed to the optimizer
_NO_MODULE = re.compile(r"(?!)")
_BASES = {
    "model": "a WaveNet",
    "dataset": "a dataset",
    "optimizer": "a torch.optim.Optimizer",
    "logger": "a logger",
    "callbacks": "a callback",
}


def resolve_class(group: str, target: Any, trust: Trust) -> Any:
    """Return the class that a group of a run's settings names.

    Args:
        group: The group, such as "model" or "model.distribution".
        target: The class's full name.
        trust: Modules whose classes are accepted besides this package's; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If the class is not available, not suitable for the group, or not trusted.
    """
    if is_dataset(group):
        dataset = dataset_class(target, trust)
        if group != "dataset" and issubclass(dataset, Mix):
            raise ValueError(f"_target_ {target!r} is a mix itself; refused, list its parts instead")
        return dataset
    if group == "optimizer":
        return optimizer_class(target, trust)
    if group == "logger":
        return _lightning_class("Logger", target, trust, LOGGERS)
    if group.startswith("callbacks."):
        if isinstance(target, str) and target.startswith(("lightning.", "wavenet.")) and target not in CALLBACKS:
            raise ValueError(
                f"_target_ {target!r} is refused: a run takes {', '.join(CALLBACKS)} and your own; for other purposes "
                "there are trainer.max_time, save_every_n_steps and sweeps over optimizer.lr"
            )
        return _lightning_class("Callback", target, trust, CALLBACKS)
    if group.split(".", maxsplit=1)[0] != "model":
        raise ValueError(f"_target_ {target!r:.80} is in {group!r:.80}; refused, no class may be named there")
    found = module_class(target, trust)
    if group == "model" and not issubclass(found, WaveNet):
        raise ValueError(f"_target_ {target!r} is a {found.__name__}; refused, it must be a subclass of WaveNet")
    return found


def _lightning_class(base: str, target: Any, trust: Trust, known: Sequence[str]) -> Any:
    """Return a subclass of Lightning's class of that name: one of those known, or one of a trusted module."""
    modules = ("lightning", "wavenet.training") if target in known else ()
    found = allowed_class(target, _NO_MODULE, object, (*trust, *modules))
    if not any(each.__name__ == base and each.__module__.startswith("lightning.") for each in found.__mro__):
        raise ValueError(
            f"_target_ {target!r} is not a {base.lower()}; refused, it must be a subclass of Lightning's {base}"
        )
    return found


def resolve_user_class(group: str, target: str) -> Any:
    """Return the class named in the user's own configs or command line; naming a class there means trusting it.

    Raises:
        ValueError: As `resolve_class`; names the group, its value and the reason.
    """
    try:
        return resolve_class(group, target, () if is_own(target) else modules_of({"_target_": target}))
    except ValueError as error:
        reason = str(error).removeprefix(f"_target_ {target!r} ")
        name = group.split(".", maxsplit=1)[0] if is_dataset(group) or group.startswith("callbacks.") else group
        base = _BASES.get(name, "a torch.nn.Module")
        raise ValueError(
            f"{group}._target_ is {target!r:.80}; it must be an existing class, {base}: it {reason}"
        ) from error
