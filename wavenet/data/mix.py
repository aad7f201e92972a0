"""The dataset `mix`: several datasets as one."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from wavenet.bounds import Flag, PartWeights, checked
from wavenet.data.corpus import Corpus, IndexedUtterances, Prepared
from wavenet.data.dataset import Dataset, DatasetError, Scan
from wavenet.data.mixed import Part, join

_NAME = re.compile(r"[^\W\d_][\w-]*")
_SETTING = re.compile(r"'[^']*'|(?<![^\s(])dataset\.(?=\w+(?:=|:| is ))")  # not in quotes, which hold whole commands

Result = TypeVar("Result")


class Mix:
    """Several datasets as one corpus, each prepared, cached and split into training and validation as it is alone.

    An utterance's id begins with the name of its part: "mine/take_3.wav". Parts share the values of conditions, such as
    a language, except for speakers: a speaker's name that several parts have is that of several people, called
    "mine/june" and "prompts/june". A condition that the model is given must be one of all parts, as of all recordings.
    The order of the parts does not matter.

    Args:
        parts: The datasets, by names that begin with a letter and have letters, digits, "_" and "-".
        weights: Of every part; the probability that a training segment is drawn from a part is proportional to its
            weight. Within a part, every sample is as likely as in that part alone. From a part with the weight 0 none
            is drawn, and the part is only validated on. None: every sample of all parts is as likely as any other.
        same_speakers: Whether a speaker's name that several parts have is that of one person.

    Raises:
        DatasetError: If there are no parts, one has an unsuitable name or is a mix itself, or the weights are of other
            parts or all 0.
        ValueError: If a weight is not a number of at least 0.

    >>> from wavenet.data.prompts import Prompts
    >>> mix = Mix({"asterisk": Prompts(), "again": Prompts("more/prompts")}, weights={"asterisk": 3, "again": 1})
    >>> mix.weights
    {'again': 1, 'asterisk': 3}
    """

    name = "mix"

    @checked
    def __init__(
        self, parts: Mapping[str, Dataset], weights: PartWeights | None = None, same_speakers: Flag = False
    ) -> None:
        if not parts:
            raise DatasetError("Mix: parts is empty; name some on the command line: dataset/parts=[prompts,folder]")
        for name, part in parts.items():
            _check_part(name, part)
        if weights is not None and (weights.keys() != parts.keys() or not any(weights.values())):
            raise DatasetError(
                f"Mix: weights is {dict(weights)}; it must have a number for each part, not all 0: {', '.join(parts)}"
            )
        self.parts = dict(sorted(parts.items()))
        self.weights = None if weights is None else dict(sorted(weights.items()))
        self.same_speakers = same_speakers

    def scan(self) -> Scan:
        """Say that there are no recordings of the mix itself.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"a mix has no recordings of its own; use its parts one by one: {', '.join(self.parts)}")

    def of_each(self, function: Callable[[str, Dataset], Result]) -> dict[str, Result]:
        """Return what a function returns of the name and the dataset of each part, by name.

        Raises:
            DatasetError: If the function does; names the part, and its settings as they are in the mix.
        """
        found = {}
        for name, part in self.parts.items():
            try:
                found[name] = function(name, part)
            except DatasetError as error:
                raise DatasetError(f"part '{name}': {in_part(name, str(error))}") from error
        return found

    def join(self, corpora: Mapping[str, Corpus]) -> Corpus:
        """Return the corpus of the mix, of the prepared corpora of its parts, by name.

        Raises:
            DatasetError: If two parts have the same file, or a name that is made up for a speaker is somebody's name.
        """
        _check_files(corpora)
        speakers = {name: corpus.columns.by("speaker").present() for name, corpus in corpora.items()}
        renamed = {name: {} for name in corpora} if self.same_speakers else _kept_apart(speakers)
        weights = self.weights or {}
        named = {name: replace(corpora[name], name=name) for name in self.parts}
        return join([Part(name, corpus, weights.get(name), renamed[name]) for name, corpus in named.items()])


def in_part(name: str, message: str) -> str:
    """Return a message about a dataset, with the names that its settings have as a part of a mix.

    >>> in_part("mine", "no files there; give dataset.root=PATH, or 'train dataset=vctk dataset.download=true'")
    "no files there; give dataset.parts.mine.root=PATH, or 'train dataset=vctk dataset.download=true'"
    """
    return _SETTING.sub(lambda found: f"dataset.parts.{name}." if found[0] == "dataset." else found[0], message)


def _check_part(name: object, part: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DatasetError(
            f"Mix: parts has the name {name!r:.80}; a name begins with a letter and has letters, digits, _ and -"
        )
    if isinstance(part, Mix):
        raise DatasetError(f"Mix: parts.{name} is a mix itself; list its parts instead")
    if not callable(getattr(part, "scan", None)):
        raise DatasetError(
            f"Mix: parts.{name} is {part!r:.80}; it must be a dataset, such as +dataset@dataset.parts.{name}=folder"
        )


def _check_files(corpora: Mapping[str, Corpus]) -> None:
    """Check that no two parts have the same file: one could hold it out, and the other train on it."""
    owners: dict[str, str] = {}
    for name, corpus in corpora.items():
        for file in _files_of(corpus):
            if owners.setdefault(file, name) != name:
                raise DatasetError(
                    f"parts '{owners[file]}' and '{name}' both have {file}, which one could hold out for validation "
                    "and the other train on; leave it out of one of them"
                )


def _files_of(corpus: Corpus) -> list[str]:
    """Return the recordings of a corpus; of one with an index, its digest stands for all of them."""
    if isinstance(corpus.utterances, IndexedUtterances):
        return [f"the corpus {corpus.utterances.digest:.16}"]
    return [os.path.realpath(each.source) for each in corpus.utterances if isinstance(each, Prepared)]


def _kept_apart(speakers: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """Return what speakers are called whose names several parts have: of each part, by their own names."""
    every = Counter(name for names in speakers.values() for name in names)
    renamed = {part: {name: f"{part}/{name}" for name in names if every[name] > 1} for part, names in speakers.items()}
    for part, names in renamed.items():
        for name, new in names.items():
            if new in every:
                raise DatasetError(
                    f"speaker '{name}' of part '{part}' would be called '{new}', as somebody else is; rename the part"
                )
    return renamed
