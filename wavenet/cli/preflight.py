"""Checks before a run: whether its settings are consistent, and whether this machine can run them."""

import functools
import inspect
import os
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from wavenet.bounds import check_batch
from wavenet.checkpoint import check_json, check_reconstructs, constructor_parameters, describe
from wavenet.checks import memory_of_this_machine
from wavenet.cli.built import model_on_meta
from wavenet.cli.command import plain
from wavenet.cli.literal import build
from wavenet.cli.saved_config import checked_yaml
from wavenet.cli.targets import SCHEDULE, resolve_user_class
from wavenet.cli.validation import arguments_of, check, check_known
from wavenet.model import WaveNet
from wavenet.native import Layout, UnknownNetworkError
from wavenet.training import WaveNetTraining, freeze, make_optimizer

_SET_BY_OTHERS = {"model", "compile", "gradient_checkpointing", "optimizer"}
_USABLE = 0.8  # fraction of the memory; the rest is for the system, and for what is not counted here
_COPIES = 5  # of the weights: the weights, gradients, two moments, and their moving average


def check_run(cfg: DictConfig) -> WaveNet:
    """Check that a training run's settings fit each other and the machine, and that its model can be loaded again.

    Args:
        cfg: The run's config, composed or loaded.

    Returns:
        The model on the meta device: shapes without memory for the weights.

    Raises:
        ValueError: Names the key, its value and the fix.
        InstantiationException: If the model cannot be built; names the setting and the reason.
    """
    check("train", cfg)
    known = arguments_of(WaveNetTraining)
    assert known is not None
    if "_target_" not in cfg.optimizer:
        check_known("optimizer", cfg.optimizer, known - _SET_BY_OTHERS)
    _check_devices(cfg)
    model = model_on_meta(cfg)
    freeze(model, plain(cfg.freeze))
    receptive_field = model.stack.receptive_field + model.input_kernel_size - 1
    if cfg.segment_length < receptive_field:
        raise ValueError(
            f"segment_length is {cfg.segment_length}, less than the stack's receptive field of {receptive_field} "
            "samples: most of each step would be spent on context samples, which are not predicted; "
            f"use segment_length={receptive_field} or more, or a smaller model.dilation_cycle"
        )
    check_batch(cfg.batch_size, cfg.segment_length)
    _check_memory(cfg, model)
    _check_optimizer(cfg, model)
    check_reloadable(cfg, model)
    return model


def check_reloadable(cfg: DictConfig, model: WaveNet | None = None) -> None:
    """Check that a run can be resumed and its model loaded, by doing both without memory for the weights.

    Args:
        cfg: The run's config.
        model: The model that the config describes, if it is built already, with or without its weights.

    Raises:
        ValueError: If not; names the reason.
    """
    check("train", cfg)
    checked_yaml(cfg)
    model = model_on_meta(cfg) if model is None else model
    try:
        check_json(describe(model))
    except ValueError as error:
        raise ValueError(f"model: the model that this run saves could not be loaded: {error}") from error
    check_reconstructs(model)


def training_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return the arguments of `WaveNetTraining` that a run's settings give, except the model."""
    settings = plain(cfg.optimizer)
    common = {"compile": cfg.compile, "gradient_checkpointing": cfg.gradient_checkpointing}
    if "_target_" not in settings:
        return settings | common
    schedule = {name: settings[name] for name in SCHEDULE if name in settings}
    return {"optimizer": optimizer_factory(cfg)} | schedule | common


def data_settings(cfg: DictConfig, model: WaveNet) -> dict[str, Any]:
    """Return the arguments of `SegmentData` that a run's settings and its model give, except the recordings."""
    return {
        "segment_length": cfg.segment_length,
        "context_length": model.receptive_field + model.margin,
        "batch_size": cfg.batch_size,
        "num_workers": cfg.num_workers,
        "seed": cfg.seed,
        "margin": model.margin,
        "frame": 1 if model.context is None else model.context.pool,
        "overfit_batches": cfg.trainer.overfit_batches,
    }


def optimizer_factory(cfg: DictConfig) -> functools.partial | None:
    """Return the class of a run's optimizer with its settings bound; None for the default, AdamW."""
    settings = plain(cfg.optimizer)
    if "_target_" not in settings:
        return None
    optimizer_class = resolve_user_class("optimizer", settings.pop("_target_"))
    return functools.partial(
        optimizer_class, **{name: value for name, value in settings.items() if name not in SCHEDULE}
    )


def chosen_callbacks(cfg: DictConfig) -> list[Callback]:
    """Return the callbacks that a run's settings name, besides those that every run has.

    Raises:
        InstantiationException: If one cannot be built.
    """
    return [build(f"callbacks.{name}", cfg.callbacks[name]) for name in cfg.callbacks]


def _check_optimizer(cfg: DictConfig, model: WaveNet) -> None:
    """Check that the optimizer accepts its settings and the model's parameters."""
    factory = optimizer_factory(cfg)
    if factory is None:
        return
    parameters = constructor_parameters(factory.func)
    if "lr" not in parameters:
        raise ValueError(f"optimizer._target_ is {cfg.optimizer._target_}, which takes no lr; the schedule needs it")
    required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    for name in ("lr", *required):
        if name not in factory.keywords and name != "params":
            raise ValueError(f"optimizer.{name} is not given; give +optimizer.{name}=VALUE")
    lr: Any = factory.keywords["lr"]
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise ValueError(f"optimizer.lr is {lr!r:.80}; it must be a number above 0, such as 0.001")
    make_optimizer(factory, model)


def _check_devices(cfg: DictConfig) -> None:
    devices: Any = cfg.trainer.devices
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
        if devices != "auto" and not (isinstance(devices, int) and 1 <= devices <= most):
            raise ValueError(
                f"trainer.devices is {devices}; on a CPU it is a number of processes, from 1 to {most} on this "
                "machine; use trainer.devices=1"
            )
    if not on_gpus:
        return
    needed = devices if isinstance(devices, int) else 0 if devices == "auto" else max(devices) + 1
    if needed > gpus:
        raise ValueError(
            f"trainer.devices is {devices}, but torch sees {gpus} GPU{'s' * (gpus > 1)} here; use "
            f"trainer.devices={gpus}, or -1 for all"
        )


def _check_memory(cfg: DictConfig, model: WaveNet) -> None:
    """Check a lower bound of the memory that training needs against the memory of the machine."""
    on_gpu = cfg.trainer.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    available = torch.cuda.get_device_properties(0).total_memory if on_gpu else memory_of_this_machine()
    available *= _USABLE
    weights = 4 * _COPIES * sum(parameter.numel() for parameter in model.parameters())
    if weights > available:
        raise ValueError(
            f"model.residual_channels={model.residual_channels}, gate_channels={model.gate_channels}, "
            f"skip_channels={model.skip_channels} and {model.stack.num_layers} layers: training their weights "
            f"needs {_gigabytes(weights)}, and {_gigabytes(available)} is available here; make one of these smaller"
        )
    try:
        layout = Layout(model)
    except UnknownNetworkError:  # its memory cannot be estimated
        return
    samples = cfg.batch_size * (cfg.segment_length + model.receptive_field + model.margin)
    per_layer = layout.residual_channels + layout.half_channels
    per_sample = len(layout.layers) * per_layer + 2 * layout.parameter_channels
    needed = samples * per_sample * (4 if cfg.trainer.precision == "32-true" else 2)
    if needed > available:
        raise ValueError(
            f"batch_size={cfg.batch_size} and segment_length={cfg.segment_length} need at least {_gigabytes(needed)} "
            f"with this model, and {_gigabytes(available)} is available here; make one of them smaller"
        )


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.3g} GB"
