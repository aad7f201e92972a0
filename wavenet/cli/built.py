"""What a config describes, built: its dataset, and its model with the names that the dataset has."""

from collections.abc import Mapping, Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from wavenet.cli.command import plain
from wavenet.cli.literal import build, literals
from wavenet.data import Corpus, Dataset, Mix, add_features, prepare
from wavenet.model import WaveNet
from wavenet.names import normalise


def make_dataset(cfg: DictConfig) -> Dataset:
    """Build the dataset that a group of settings describes.

    Raises:
        ValueError: If it has no name for the folder of its prepared audio.
    """
    dataset = build("dataset", cfg)
    _check_dataset_name("dataset", dataset)
    if isinstance(dataset, Mix):
        for part, each in dataset.parts.items():
            _check_dataset_name(f"dataset.parts.{part}", each)
    return dataset


def prepared(cfg: DictConfig, model: WaveNet) -> Corpus:
    """Return the recordings of a run's config, prepared for a model that was trained on them, with its features."""
    corpus = prepare(make_dataset(cfg.dataset), model.sample_rate, **plain(cfg.preparation))
    return add_features(corpus, model.features, trimmed=cfg.preparation.trim_db is not None)


def fill_categories(cfg: DictConfig, corpus: Corpus, known: Mapping[str, Sequence[str]] | None = None) -> None:
    """Fill in the categories that are taken from the dataset, and check those that are given.

    Args:
        cfg: The run's config; `categories` that are null are set.
        corpus: The training corpus.
        known: Names by the conditioner's key that come before the dataset's; those of a model to begin with.

    Raises:
        ValueError: If the dataset has names that are not among those given.
    """
    for key, conditioner in (cfg.model.get("conditioners") or {}).items():
        if "categories" not in conditioner:
            continue
        names = corpus.values(conditioner.name)
        given = plain(conditioner)["categories"]
        before = list((known or {}).get(key, ()))
        new = set(names) - set(map(normalise, before))
        categories = (
            [*before, *(name for name in names if name in new)]
            if given is None
            else [normalise(str(category)) for category in given]
        )
        conditioner.categories = literals(categories)
        unknown = sorted(set(names) - set(map(normalise, categories)))
        if unknown:
            raise ValueError(
                f"model.conditioners.{key}.categories is {categories}, but the dataset has "
                f"{', '.join(unknown)}, too; add them, or use null for all names"
            )


def model_on_meta(cfg: DictConfig) -> WaveNet:
    """Build the model on the meta device: shapes without memory for the weights."""
    settings = OmegaConf.create({"model": literals(OmegaConf.to_container(cfg.model, resolve=True))})
    for conditioner in (settings.model.get("conditioners") or {}).values():
        if "categories" in conditioner and conditioner.categories is None:
            conditioner.categories = ["?"]
    with torch.device("meta"):
        return build("model", settings.model)


def _check_dataset_name(group: str, dataset: Dataset) -> None:
    name = getattr(dataset, "name", None)
    if not isinstance(name, str) or not name.isprintable() or set(name) & set(" /\\") or name in ("", ".", ".."):
        found = type(dataset)
        raise ValueError(
            f"{group}._target_ is {found.__module__}.{found.__qualname__}, whose name is {name!r:.80}; give the class "
            'a short name without spaces, such as name = "mine": its prepared audio is kept in a folder of that name'
        )
