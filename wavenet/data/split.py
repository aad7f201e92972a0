"""Division of a corpus into training and held-out utterances."""

from dataclasses import replace

import numpy as np

from wavenet.data.columns import NONE as UNLISTED
from wavenet.data.corpus import Corpus
from wavenet.data.dataset import DatasetError
from wavenet.data.mixed import Part, join, parts_of

_NOTHING = np.empty(0, np.int64)


def split(corpus: Corpus, validation_fraction: float) -> tuple[Corpus, Corpus]:
    """Hold out utterances for validation: those of the dataset's published lists, or else some of every speaker.

    Without published lists the choice depends only on the utterances' ids, not on a seed or the machine. The given
    fraction of each speaker's utterances is held out, at least one if there are two; below 1, one is left to train on.
    Each part of a mix is split as it would be without the others.

    Args:
        corpus: All utterances.
        validation_fraction: From 0 to 1; 0 validates on nothing, 1 holds out all, for an evaluation. Published lists
            are used whole whatever the fraction is, and what they hold out is not trained on even if it is 0.

    Returns:
        The training corpus, sorted by id, without the parts of a mix whose weight is 0; and the validation corpus, in a
        fixed shuffled order, so that its first utterances are representative of the whole.

    Raises:
        DatasetError: If the fraction is out of range, no utterances would be held out, or the dataset states for some
            of its utterances only whether they are held out.
    """
    if not 0 <= validation_fraction <= 1:
        raise DatasetError(f"validation_fraction is {validation_fraction}; it must be from 0 to 1")
    parts = parts_of(corpus)
    if not parts:
        held = _held_out(corpus, validation_fraction)
        numbers = np.flatnonzero(held) if validation_fraction else _NOTHING
        return corpus.select(np.flatnonzero(~held)), _shuffled(corpus, numbers)
    both = [split(part.corpus, validation_fraction) for part in parts]
    train = join([_to_train_on(replace(part, corpus=each)) for part, (each, _) in zip(parts, both, strict=True)])
    validation = join([replace(part, corpus=each) for part, (_, each) in zip(parts, both, strict=True)])
    return train, _shuffled(validation, np.arange(len(validation.utterances)))


def _held_out(corpus: Corpus, fraction: float) -> np.ndarray:
    """Return which utterances are not trained on: (U,) bool."""
    columns = corpus.columns
    unlisted = int((columns.held_out == UNLISTED).sum())
    if unlisted == len(corpus.utterances):
        held = columns.chosen(fraction)
        if fraction and not held.any():
            raise DatasetError(
                f"dataset '{corpus.name}': {len(held)} utterance(s) of {columns.num_speakers} speaker(s) leave none "
                "to validate on; cut the recording into two or more files, or set validation_fraction=0"
            )
        return held
    if unlisted:
        raise DatasetError(
            f"dataset '{corpus.name}': held_out is None for {unlisted} of {len(corpus.utterances)} utterances; its "
            "scan() must state it for all of them or for none"
        )
    held = columns.held_out == 1
    if fraction and not held.any():
        raise DatasetError(
            f"dataset '{corpus.name}': none of {len(corpus.utterances)} utterances is in its list of held-out "
            "ones; add their recordings, or set validation_fraction=0"
        )
    return held


def _to_train_on(part: Part) -> Part:
    return replace(part, corpus=part.corpus.select(_NOTHING)) if part.weight == 0 else part


def _shuffled(corpus: Corpus, numbers: np.ndarray) -> Corpus:
    """Return the corpus of some utterances, in an order that depends on their ids alone."""
    order = np.argsort(corpus.columns.hashes[numbers], kind="stable")
    return replace(corpus.select(numbers[order]), skipped=[])
