"""A check that all processes of a run train on the same recordings with the same settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import lightning as L
import torch.distributed as dist

from wavenet.data import Corpus, IndexedUtterances, parts_of

Recording = tuple[str, int, str]  # its id, its samples and its conditions


class Agreement(L.Callback):
    """Compares digests of the recordings and settings of all processes before the first step.

    Nodes may have different copies of a corpus; each process would then take other segments than those that the stream
    has for it, without an error.

    Args:
        parts: The corpora, such as {"training": ...}.
        settings: Settings of the run that must be equal, as plain data; paths may differ between nodes.
    """

    def __init__(self, parts: Mapping[str, Corpus], settings: Mapping[str, Any]) -> None:
        self._parts = parts
        self._settings = settings

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare, if there are several processes.

        Raises:
            ValueError: In every process, if they differ; names two of them, and what differs.
        """
        if trainer.world_size > 1 and dist.is_initialized():
            for name, corpus in self._parts.items():
                check_same_recordings(name, recordings_of(corpus))
            check_same_settings(self._settings)


def recordings_of(corpus: Corpus) -> list[Recording]:
    """Return what a corpus consists of, in its order; of one with an index, its digest stands for all of them."""
    if parts := parts_of(corpus):
        of_parts = [(part.name, *each) for part in parts for each in recordings_of(part.corpus)]
        return [(f"{part}/{name}", samples, conditions) for part, name, samples, conditions in of_parts]
    if isinstance(corpus.utterances, IndexedUtterances):
        return [(f"the corpus {corpus.utterances.digest:.16}", len(corpus.utterances), "")]
    return [(u.id, u.num_samples, json.dumps(u.conditions, sort_keys=True)) for u in corpus.utterances]


def check_same_recordings(part: str, recordings: Sequence[Recording]) -> None:
    """Check that all processes have the same recordings.

    Args:
        part: What they are used for, such as "training".
        recordings: Those of this process.

    Raises:
        ValueError: If not; names two processes, how many recordings they have, and the first that differs.
    """
    every = _gathered(hashlib.sha256(json.dumps(list(recordings)).encode()).hexdigest())
    if len(set(every)) == 1:
        return
    other = next(rank for rank, digest in enumerate(every) if digest != every[0])
    lists = _gathered(list(recordings))
    pairs = zip_longest(lists[0], lists[other])
    mine, theirs = next((mine, theirs) for mine, theirs in pairs if mine != theirs)
    raise ValueError(
        f"processes 0 and {other} have different recordings for {part}: {len(lists[0])} and {len(lists[other])}, the "
        f"first that differs is {(mine or theirs)[0]!a:.200}; give all nodes the same files, or a shared dataset.root"
    )


def check_same_settings(settings: Mapping[str, Any]) -> None:
    """Check that all processes have the same settings.

    Raises:
        ValueError: If not; names two processes and the first setting that differs.
    """
    flat = flat_settings(settings)
    every = _gathered(flat)
    for rank, other in enumerate(every):
        for name in sorted(flat.keys() | other.keys()):
            if every[0].get(name) != other.get(name):
                raise ValueError(
                    f"processes 0 and {rank} have different settings: {name} is {every[0].get(name)!r:.80} and "
                    f"{other.get(name)!r:.80}; start all with the same command"
                )


def _gathered(value: Any) -> list[Any]:
    """Return the value of every process, in the order of their ranks."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their whole names, such as "trainer.max_steps", instead of in groups."""
    return dict(_flat("", settings))


def _flat(place: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for name, each in value.items() for pair in _flat(f"{place}.{name}".lstrip("."), each)]
    return [(place, value)]
