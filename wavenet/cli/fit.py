"""Whether the settings of a run go together, and whether this machine has what they need."""

import os
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wavenet.bounds import check_batch
from wavenet.checkpoint import build_without_memory, describe
from wavenet.checks import memory_of_this_machine
from wavenet.cli.command import plain
from wavenet.cli.run_config import LOGGERS, text_of
from wavenet.cli.settings import arguments_of, check, check_known
from wavenet.data import Corpus
from wavenet.model import WaveNet
from wavenet.training import WaveNetTraining
from wavenet.untrusted import check_json

_SET_BY_TRAIN = {
    "max_epochs", "min_epochs", "check_val_every_n_epoch", "num_sanity_val_steps", "use_distributed_sampler",
    "enable_model_summary", "default_root_dir", "logger", "callbacks", "enable_checkpointing",
}  # fmt: skip
_SET_BY_OTHERS = {"model", "compile", "gradient_checkpointing"}
_OWN = "wavenet."
_USABLE = 0.8  # of the memory; the rest is the system's, and what was not counted
_COPIES = 5  # of the weights: themselves, gradients, two moments, and their average


def check_run(cfg: DictConfig) -> None:
    """Refuse settings of a training run that contradict each other or the machine.

    Args:
        cfg: The config of the run, as it was composed or saved.

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
    check_kept(cfg)


def check_kept(cfg: DictConfig) -> None:
    """Refuse a run that could not be resumed, or whose model could not be loaded: both are tried, without memory.

    What has parts from outside the package is for those to load who trust them, and is not tried.

    Args:
        cfg: The config of the run.

    Raises:
        ValueError: Names what is in the way.
    """
    check("train", cfg)
    if not _is_our_own(plain(cfg)):
        return
    text_of(cfg)
    description = describe(_outline(cfg))
    try:
        check_json(description)
        build_without_memory(description)
    except ValueError as error:
        raise ValueError(f"model: what this run saves could not be loaded: {error}") from error


def _is_our_own(data: Any) -> bool:
    """Whether all classes that plain data names are those that are loaded without anybody's word."""
    if isinstance(data, list):
        return all(map(_is_our_own, data))
    if not isinstance(data, dict):
        return True
    target = str(data.get("_target_", _OWN))
    return (target.startswith(_OWN) or target in LOGGERS) and all(map(_is_our_own, data.values()))


def name_categories(cfg: DictConfig, corpus: Corpus) -> None:
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
        model = instantiate(outline.model, _convert_="all")
    if not isinstance(model, WaveNet):
        raise ValueError(f"model._target_ is {cfg.model._target_}; it must be wavenet.model.WaveNet, or made of it")
    return model


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
            f"model.residual_channels={cfg.model.residual_channels}, gate_channels={cfg.model.gate_channels}, "
            f"skip_channels={cfg.model.skip_channels} and {len(model.stack.layers)} layers: training their weights "
            f"needs {_gigabytes(weights)}, and {_gigabytes(there)} can be had here; make one of these numbers smaller"
        )
    heard = cfg.batch_size * (cfg.segment_length + model.receptive_field + model.margin)
    of_a_layer = model.residual_channels + model.gate_channels // 2
    of_a_sample = len(model.stack.layers) * of_a_layer + 2 * model.distribution.parameter_channels
    needed = heard * of_a_sample * (4 if cfg.trainer.precision == "32-true" else 2)
    if needed > there:
        raise ValueError(
            f"batch_size={cfg.batch_size} and segment_length={cfg.segment_length} need at least {_gigabytes(needed)} "
            f"with this model, and {_gigabytes(there)} can be had here; make one of them smaller"
        )


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.3g} GB"
