"""Which class a `_target_` may name, by the group of settings in which it stands."""

import re
from typing import Any

from wavenet.checkpoint import Trust, allowed_class, dataset_class, is_own, module_class, modules_of, optimizer_class
from wavenet.model import WaveNet

WANDB = "wavenet.training.wandb_log.WandbLog"
LOGGERS = ("lightning.pytorch.loggers.TensorBoardLogger", "wavenet.training.log.CSVLog", WANDB)
SCHEDULE = ("warmup_steps", "final_lr_fraction")  # settings of the optimizer's group that no optimizer gets
_NOTHING = re.compile(r"(?!)")
_KINDS = {"model": "a WaveNet", "dataset": "a dataset", "optimizer": "a torch.optim.Optimizer", "logger": "a logger"}


def resolve_class(group: str, target: Any, trust: Trust) -> Any:
    """The class that a group of a run's settings names.

    Args:
        group: Such as "model" or "model.distribution".
        target: The class's full name.
        trust: Modules whose classes are taken besides this package's; see `wavenet.checkpoint.trust`.

    Raises:
        ValueError: If it is not to be had, is none for this group, or is not trusted.
    """
    if group == "dataset":
        return dataset_class(target, trust)
    if group == "optimizer":
        return optimizer_class(target, trust)
    if group == "logger":
        known = ("lightning", "wavenet.training") if target in LOGGERS else ()
        found = allowed_class(target, _NOTHING, object, (*trust, *known))
        if not any(base.__name__ == "Logger" and base.__module__.startswith("lightning.") for base in found.__mro__):
            raise ValueError(f"_target_ {target!r} is no logger; refused, it must be a subclass of Lightning's Logger")
        return found
    if group.split(".", maxsplit=1)[0] != "model":
        raise ValueError(f"_target_ {target!r:.80} stands in {group!r:.80}; refused, no class is named there")
    found = module_class(target, trust)
    if group == "model" and not issubclass(found, WaveNet):
        raise ValueError(f"_target_ {target!r} is a {found.__name__}; refused, it must be a subclass of WaveNet")
    return found


def resolve_user_class(group: str, target: str) -> Any:
    """As `resolve_class`, of what the user's own configs and command line say: naming a class there is trusting it.

    Raises:
        ValueError: Names the group, what is given and why it does not do.
    """
    try:
        return resolve_class(group, target, () if is_own(target) else modules_of({"_target_": target}))
    except ValueError as error:
        reason = str(error).removeprefix(f"_target_ {target!r} ")
        kind = _KINDS.get(group, "a torch.nn.Module")
        raise ValueError(
            f"{group}._target_ is {target!r:.80}; it must be a class that is there, {kind}: it {reason}"
        ) from error
