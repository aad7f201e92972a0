"""Whether the settings of a run go together, and whether this machine has what they need."""

import functools
import inspect
import os
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wavenet.bounds import check_batch
from wavenet.checkpoint import check_json, check_reconstructs, constructor_parameters, describe
from wavenet.checks import memory_of_this_machine
from wavenet.cli.command import plain
from wavenet.cli.saved_config import checked_yaml
from wavenet.cli.targets import SCHEDULE, resolve_user_class
from wavenet.cli.validation import arguments_of, check, check_known
from wavenet.data import Corpus, Dataset
from wavenet.model import WaveNet
from wavenet.native import Layout, UnknownNetworkError
from wavenet.training import WaveNetTraining, make_optimizer

_SET_BY_TRAIN = {
    "max_epochs", "min_epochs", "check_val_every_n_epoch", "num_sanity_val_steps", "use_distributed_sampler",
    "enable_model_summary", "default_root_dir", "logger", "callbacks", "enable_checkpointing",
}  # fmt: skip
_SET_BY_OTHERS = {"model", "compile", "gradient_checkpointing", "optimizer"}
_USABLE = 0.8  # of the memory; the rest is the system's, and what was not counted
_COPIES = 5  # of the weights: themselves, gradients, two moments, and their average


def check_run(cfg: DictConfig) -> WaveNet:
    """Refuse settings of a training run that contradict each other or the machine, or make what cannot be loaded again.

    Args:
        cfg: The config of the run, as it was composed or saved.

    Returns:
        The model in its shapes, without memory for its weights.

    Raises:
        ValueError: Names the key, its value and the fix.
        InstantiationException: If the model cannot be built; says where and why.
    """
    check("train", cfg)
    for group, constructor, taken in (
        ("optimizer", WaveNetTraining, _SET_BY_OTHERS), ("trainer", L.Trainer, _SET_BY_TRAIN)
    ):  # fmt: skip
        known = arguments_of(constructor)
        assert known is not None
        if "_target_" not in cfg[group]:
            check_known(group, cfg[group], known - taken)
    _check_devices(cfg)
    model = _outline(cfg)
    seen = model.stack.receptive_field + model.input_kernel_size - 1
    if cfg.segment_length < seen:
        raise ValueError(
            f"segment_length is {cfg.segment_length}, less than the stack's receptive field of {seen} samples: most of "
            f"each step would go into what is heard and not predicted; use segment_length={seen} or more, or a smaller "
            "model.dilation_cycle"
        )
    check_batch(cfg.batch_size, cfg.segment_length)
    _check_memory(cfg, model)
    _check_optimizer(cfg, model)
    check_reloadable(cfg, model)
    return model


def check_reloadable(cfg: DictConfig, model: WaveNet | None = None) -> None:
    """Refuse a run that could not be resumed, or whose model could not be loaded: both are tried, without memory.

    Args:
        cfg: The config of the run.
        model: The one that it describes, if it was built already, with its weights or without.

    Raises:
        ValueError: Names what is in the way.
    """
    check("train", cfg)
    checked_yaml(cfg)
    model = _outline(cfg) if model is None else model
    try:
        check_json(describe(model))
    except ValueError as error:
        raise ValueError(f"model: what this run saves could not be loaded: {error}") from error
    check_reconstructs(model)


def training_settings(cfg: DictConfig) -> dict[str, Any]:
    """What a run's settings give to `WaveNetTraining` besides the model."""
    settings = plain(cfg.optimizer)
    common = {"compile": cfg.compile, "gradient_checkpointing": cfg.gradient_checkpointing}
    if "_target_" not in settings:
        return settings | common
    schedule = {name: settings[name] for name in SCHEDULE if name in settings}
    return {"optimizer": optimizer_factory(cfg)} | schedule | common


def optimizer_factory(cfg: DictConfig) -> functools.partial | None:
    """What makes a run's optimizer, if it is another one than AdamW: the class with its settings."""
    settings = plain(cfg.optimizer)
    if "_target_" not in settings:
        return None
    found = resolve_user_class("optimizer", settings.pop("_target_"))
    return functools.partial(found, **{name: value for name, value in settings.items() if name not in SCHEDULE})


def make_dataset(cfg: DictConfig) -> Dataset:
    """The dataset that a group of settings describes.

    Raises:
        ValueError: If it has no name for the folder of its prepared audio.
    """
    dataset = instantiate(cfg)
    name = getattr(dataset, "name", None)
    if not isinstance(name, str) or not name.isprintable() or set(name) & set(" /\\") or name in ("", ".", ".."):
        raise ValueError(
            f"dataset._target_ is {cfg._target_}, whose name is {name!r:.80}; give the class a short name without "
            'spaces, such as name = "mine": its prepared audio lies in a folder of that name'
        )
    return dataset


def fill_categories(cfg: DictConfig, corpus: Corpus) -> None:
    """Fill in the names that were left to the dataset, and check those that were given.

    Args:
        cfg: Of the run; `categories` that are null are set.
        corpus: What the model learns from.

    Raises:
        ValueError: If the dataset has names that are not among those given, or that no config can hold.
    """
    for key, conditioner in (cfg.model.get("conditioners") or {}).items():
        if "categories" not in conditioner:
            continue
        there = corpus.values(conditioner.name)
        strange = next((name for name in there if "${" in name or name == "???"), None)
        if strange is not None:
            raise ValueError(
                f"model.conditioners.{key}.categories: the dataset has the name {strange!r}, which a config takes "
                "for a reference; rename it"
            )
        if conditioner.categories is None:
            conditioner.categories = there
        unknown = sorted(set(there) - {str(category) for category in conditioner.categories})
        if unknown:
            raise ValueError(
                f"model.conditioners.{key}.categories is {list(conditioner.categories)}, but the dataset has "
                f"{', '.join(unknown)}, too; add them, or use null for all"
            )


def _outline(cfg: DictConfig) -> WaveNet:
    """The model in its shapes, without memory for its weights."""
    outline = OmegaConf.create({"model": OmegaConf.to_container(cfg.model, resolve=True)})
    for conditioner in (outline.model.get("conditioners") or {}).values():
        if "categories" in conditioner and conditioner.categories is None:
            conditioner.categories = ["?"]
    with torch.device("meta"):
        return instantiate(outline.model, _convert_="all")


def _check_optimizer(cfg: DictConfig, model: WaveNet) -> None:
    """Refuse an optimizer that does not take its settings, or not the model's parameters."""
    maker = optimizer_factory(cfg)
    if maker is None:
        return
    parameters = constructor_parameters(maker.func)
    if "lr" not in parameters:
        raise ValueError(f"optimizer._target_ is {cfg.optimizer._target_}, which takes no lr; the schedule scales that")
    wanted = [name for name, given in parameters.items() if given.default is inspect.Parameter.empty]
    for name in ("lr", *wanted):
        if name not in maker.keywords and name != "params":
            raise ValueError(f"optimizer.{name} is not given; give +optimizer.{name}=VALUE")
    lr: Any = maker.keywords["lr"]
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise ValueError(f"optimizer.lr is {lr!r:.80}; it must be a number above 0, such as 0.001")
    make_optimizer(maker, model)


def _check_devices(cfg: DictConfig) -> None:
    asked: Any = cfg.trainer.devices
    accelerator, gpus = cfg.trainer.accelerator, torch.cuda.device_count()
    if accelerator == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("trainer.accelerator is 'mps', but there is no Apple GPU here; use trainer=cpu")
        return
    if accelerator == "gpu" and torch.backends.mps.is_available():
        return
    if accelerator in ("gpu", "cuda") and not gpus:
        raise ValueError(f"trainer.accelerator is '{accelerator}', but torch sees no GPU here; use trainer=cpu")
    on_gpus = accelerator in ("gpu", "cuda") or (accelerator == "auto" and gpus > 0)
    if not on_gpus and accelerator in ("cpu", "auto"):
        most = max(2, os.cpu_count() or 1)  # two processes can be tried anywhere
        if asked != "auto" and not (isinstance(asked, int) and 1 <= asked <= most):
            raise ValueError(
                f"trainer.devices is {asked}; on a CPU it is a number of processes, from 1 to {most} on this machine; "
                "use trainer.devices=1"
            )
    if not on_gpus:
        return
    most_asked = asked if isinstance(asked, int) else 0 if asked == "auto" else max(asked) + 1
    if most_asked > gpus:
        raise ValueError(
            f"trainer.devices is {asked}, but torch sees {gpus} GPU{'s' * (gpus > 1)} here; use trainer.devices={gpus},"
            " or -1 for all"
        )


def _check_memory(cfg: DictConfig, model: WaveNet) -> None:
    """Refuse what cannot fit: a lower bound of what training needs, against all the memory there is."""
    on_gpu = cfg.trainer.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    there = torch.cuda.get_device_properties(0).total_memory if on_gpu else memory_of_this_machine()
    there *= _USABLE
    weights = 4 * _COPIES * sum(parameter.numel() for parameter in model.parameters())
    if weights > there:
        raise ValueError(
            f"model.residual_channels={model.residual_channels}, gate_channels={model.gate_channels}, "
            f"skip_channels={model.skip_channels} and {model.stack.num_layers} layers: training their weights "
            f"needs {_gigabytes(weights)}, and {_gigabytes(there)} can be had here; make one of these numbers smaller"
        )
    try:
        layout = Layout(model)
    except UnknownNetworkError:  # nobody knows what that keeps
        return
    heard = cfg.batch_size * (cfg.segment_length + model.receptive_field + model.margin)
    of_a_layer = layout.residual_channels + layout.half_channels
    of_a_sample = len(layout.layers) * of_a_layer + 2 * layout.parameter_channels
    needed = heard * of_a_sample * (4 if cfg.trainer.precision == "32-true" else 2)
    if needed > there:
        raise ValueError(
            f"batch_size={cfg.batch_size} and segment_length={cfg.segment_length} need at least {_gigabytes(needed)} "
            f"with this model, and {_gigabytes(there)} can be had here; make one of them smaller"
        )


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.3g} GB"
