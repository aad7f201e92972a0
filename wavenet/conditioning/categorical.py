"""Conditioning on one of a list of names, such as the speaker."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from wavenet.bounds import Channels, Dropout, Names, checked
from wavenet.checks import is_whole
from wavenet.conditioning.base import Conditioner
from wavenet.names import normalise, one_line
from wavenet.nn import Condition


class CategoricalEmbedding(Conditioner):
    """Global conditioning on one of a list of names (section 2.5): a learned vector for each.

    The names are saved with the model, and batches carry names, not numbers: another order of folders cannot mix up
    speakers.

    Args:
        name: Name of the condition in the batch, such as "speaker".
        categories: All the names, each once, in the order of their vectors.
        condition_channels: Channels of the vectors.
        dropout: See `Conditioner`.

    Raises:
        ValueError: If there are no categories or too many, one is repeated, or a number is out of range.
    """

    @checked
    def __init__(self, name: str, categories: Names, condition_channels: Channels, dropout: Dropout = 0.0) -> None:
        super().__init__(name, condition_channels, dropout)
        self.categories = [str(category) for category in categories]
        exact = {category: index for index, category in enumerate(self.categories)}
        if len(exact) < len(self.categories):
            twice = sorted(category for category, times in Counter(self.categories).items() if times > 1)
            raise ValueError(f"CategoricalEmbedding: categories is {self.categories}; it has {twice} more than once")
        self._index = {normalise(category): index for category, index in exact.items()} | exact
        self.embedding = nn.Embedding(len(self.categories), condition_channels)

    def read(self, conditions: Mapping[str, Any], batch_size: int) -> Condition:
        """Look up the vectors.

        Args:
            conditions: Under this conditioner's name, one name for the whole batch or a sequence
                of B names; a whole number counts as a name.
            batch_size: B.

        Returns:
            (B, condition_channels, 1), for the whole utterance.

        Raises:
            ValueError: If the condition is missing or unknown; the message lists the known names.
        """
        known = one_line(", ".join(self.categories))
        if conditions.get(self.name) is None:
            raise ValueError(f"the model needs a {self.name}: give {self.name}=NAME, one of {known}")
        names = conditions[self.name]
        several = isinstance(names, Iterable) and not isinstance(names, str)
        given: list[Any] = list(names) if several else [names] * batch_size
        names = [str(name) if is_whole(name) else name for name in given]
        if len(names) != batch_size:
            raise ValueError(f"{len(names)} values of {self.name} were given for a batch of {batch_size}")
        found = [self.find(name) for name in names]
        for name, index in zip(names, found, strict=True):
            if index is None:
                raise ValueError(f"unknown {self.name} {name!r}; choose from {known}")
        indices = torch.tensor(found, device=self.embedding.weight.device)
        return Condition(self.embedding(indices).unsqueeze(-1))

    def find(self, name: Any) -> int | None:
        """Return a name's index in `categories`: that of the same name, else of the same normalised name, else None."""
        if not isinstance(name, str):
            return None
        return self._index.get(name, self._index.get(normalise(name)))
