"""`init_from`: a new run that begins with a model's weights, as its config describes it and as it is printed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wavenet.checkpoint import describe, load, number_at, packaged_models, text_at
from wavenet.cli.command import plain
from wavenet.cli.literal import literal, literals
from wavenet.cli.resumption import Resumption
from wavenet.conditioning import CategoricalEmbedding
from wavenet.model import WaveNet
from wavenet.names import listed, one_line
from wavenet.training import Names, Transfer

_RATES = ("lr", "adamw_lr")  # of the optimizers
_RATE = 0.3  # of what a new run has; measured by scripts/benchmark.py adaptation
_MOST_NAMES = 8  # printed


def load_initial(cfg: DictConfig, resumption: Resumption | None, given: Mapping[str, str]) -> WaveNet | None:
    """Load the model that a run begins with, and let a new run's config describe it; None if there is none.

    Args:
        cfg: The run's config.
        resumption: What is there of a run that goes on; its own weights go before these.
        given: Overrides by their keys, of the command line or of a caller in Python.

    Raises:
        CheckpointError: If it cannot be loaded.
        ValueError: If only the saved config of a run that goes on names it, and it is not here.
    """
    if cfg.init_from is None or (resumption is not None and resumption.checkpoint is not None):
        return None
    path = Path(cfg.init_from)  # a saved config must not make a run fetch anything
    if not path.exists() and str(path) not in packaged_models() and "init_from" not in given:
        raise ValueError(
            f"init_from is {cfg.init_from!a:.80} in the run's config, which is not here, and the run has no weights of "
            "its own yet; start a new run"
        )
    source = load(cfg.init_from, trust=plain(cfg.trust))
    if resumption is None:
        _begin_with(cfg, source, given)
    return source


def name_of_initial(cfg: DictConfig) -> str:
    """Return the name of the model that a run begins with, without the folders above it."""
    path = Path(cfg.init_from)
    return path.resolve().name if path.exists() else cfg.init_from


def _begin_with(cfg: DictConfig, source: WaveNet, given: Mapping[str, str]) -> None:
    """Let a new run's config describe the model that it begins with.

    The config gets the model's own settings, except those that the command line gives. With another `model=`
    or `experiment=` it keeps that one's settings, and takes what fits. The names of a conditioner, such as the
    speakers, are the model's and then those of the dataset. Learning rates that are not given are 0.3 times
    a new run's.
    """
    if Path(cfg.init_from).exists():
        cfg.init_from = literal(str(Path(cfg.init_from).resolve()))  # also for a run that goes on in another folder
    for rate in _RATES:
        if rate in cfg.optimizer and not given.keys() & {f"optimizer.{rate}", "optimizer"}:
            cfg.optimizer[rate] = _RATE * cfg.optimizer[rate]
    if not given.keys() & {"model", "experiment"}:
        composed = OmegaConf.to_container(cfg.model, resolve=False)
        cfg.model = literals(_without_names(describe(source)))
        for key, override in given.items():
            if key.startswith("model."):
                _apply(cfg, composed, override, key)


def known_names(source: WaveNet) -> dict[str, list[str]]:
    """Return the names that a model knows, by the conditioner's key."""
    named = {key: each for key, each in source.conditioners.items() if isinstance(each, CategoricalEmbedding)}
    return {key: each.categories for key, each in named.items()}


def describe_transfer(cfg: DictConfig, model: WaveNet, source: WaveNet, found: Transfer) -> list[str]:
    """Return lines about what a run's model has taken of another, what begins fresh and what was dropped."""
    rates = [f"optimizer.{rate}={cfg.optimizer[rate]:g}" for rate in _RATES if rate in cfg.optimizer]
    lines = [f"from     {cfg.init_from} ({_origin(source)}), {', '.join(rates)}"]
    lines.append(f"taken    {_parts(found.taken)}")
    for label, names in (("fresh", found.fresh), ("dropped", found.dropped), ("frozen", plain(cfg.freeze))):
        lines += [f"{label:<8} {_parts(names)}"] if names else []
    own, theirs = describe(model), describe(source)
    changed = [name for name in own if name in theirs and own[name] != theirs[name] and _is_single(own[name])]
    lines += [f"changed  {name}: {theirs[name]}, now {own[name]}" for name in changed]
    for key, names in found.names.items():
        lines.append(f"{key:<8} {_describe_names(names)}")
    return [one_line(line) for line in lines]


def describe_own_weights(model: WaveNet) -> str:
    """Return a line about a model that a caller in Python gives, and that was trained before."""
    return one_line(f"from     the weights that the model has ({_origin(model)})")


def _origin(model: WaveNet) -> str:
    """Return the data, the steps and the bits of a model's training, as far as it knows them."""
    data, steps = text_at(model.metadata, "data", "name"), number_at(model.metadata, "training", "steps")
    bits = number_at(model.metadata, "validation", "bits_per_sample")
    about = [data or "", f"{steps:.0f} steps" if steps else "", f"{bits:.4f} bits per sample" if bits else ""]
    return ", ".join(filter(None, about)) or "of unknown origin"


def _without_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Let the names of conditioners be filled in: the model's, and then the dataset's."""
    for conditioner in settings["conditioners"].values():
        if "categories" in conditioner:
            conditioner["categories"] = None
    return settings


def _apply(cfg: DictConfig, composed: Any, override: str, key: str) -> None:
    """Let an override of the command line change the model's own settings, with the value that it has composed."""
    value = composed
    for name in key.split(".")[1:]:
        if not isinstance(value, dict) or name not in value:  # it was deleted
            break
        value = value[name]
    else:
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
        return
    if override.startswith("~"):
        parent, _, last = key.rpartition(".")
        OmegaConf.select(cfg, parent).pop(last, None)


def _is_single(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _parts(names: Iterable[str]) -> str:
    """Name parts of a model in place of each of their parameters.

    >>> _parts(["head.1.weight", "head.1.bias", "conditioners.mel.conv.weight"])
    'head (2 tensors), conditioners.mel'
    """
    counts: dict[str, int] = {}
    for name in names:
        first, *rest = name.split(".")
        part = f"{first}.{rest[0]}" if first == "conditioners" and rest else first
        counts[part] = counts.get(part, 0) + 1
    return ", ".join(f"{part} ({number} tensors)" if number > 1 else part for part, number in counts.items())


def _describe_names(names: Names) -> str:
    kinds = {"kept ": names.kept, "new, at the mean of those known: ": names.new, "dropped ": names.dropped}
    return "; ".join(f"{kind}{listed(each, _MOST_NAMES)}" for kind, each in kinds.items() if each)
