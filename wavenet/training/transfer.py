"""Fine-tuning: a model that begins with another one's weights, and parts of it that stay as they are."""

from dataclasses import dataclass, field

import torch
from torch import nn

from wavenet.conditioning import CategoricalEmbedding
from wavenet.model import WaveNet
from wavenet.names import closest


@dataclass(frozen=True)
class Names:
    """The names of a categorical condition, such as the speakers, of a model that begins with another one's weights.

    Attributes:
        kept: Names that both know, whose vectors are taken.
        new: Names whose vectors begin at the mean of all that the other one knows.
        dropped: Names that only the other one knows.
    """

    kept: list[str]
    new: list[str]
    dropped: list[str]


@dataclass(frozen=True)
class Transfer:
    """What a model has taken of another one.

    Attributes:
        taken: Names of the parameters that were taken whole.
        fresh: Names of those that begin at random, as the other one has none of this name and shape.
        dropped: Names of the other one's parameters that were not taken.
        names: Of each conditioner with names whose vectors were taken, by its key.
    """

    taken: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    names: dict[str, Names] = field(default_factory=dict)


@torch.no_grad()
def take_weights(model: WaveNet, source: WaveNet) -> Transfer:
    """Give a model those of another one's weights that it has a place for: of the same name and shape.

    The vectors of names, such as speakers, are taken name by name. Buffers are the model's own: they follow from its
    settings.

    Args:
        model: The model, which is changed.
        source: The other one.

    Raises:
        ValueError: If no weight fits.
    """
    found, own = Transfer(), dict(model.named_parameters())
    theirs, others = dict(source.named_parameters()), dict(source.conditioners.items())
    for key, conditioner in model.conditioners.items():
        other = others.get(key)
        if isinstance(conditioner, CategoricalEmbedding) and isinstance(other, CategoricalEmbedding):
            place = f"conditioners.{key}.embedding.weight"
            if own[place].shape[1] == theirs[place].shape[1]:
                found.names[key] = _take_names(conditioner, other)
                del own[place], theirs[place]
    for name, parameter in own.items():
        if name in theirs and theirs[name].shape == parameter.shape:
            parameter.copy_(theirs.pop(name))
            found.taken.append(name)
        else:
            found.fresh.append(name)
    found.dropped.extend(theirs)
    if not found.taken:
        raise ValueError("none of its weights have a place in this model; leave out the settings that change its shape")
    return found


def freeze(model: WaveNet, parts: list[str]) -> None:
    """Keep parts of a model as they are: they are not trained.

    Args:
        model: The model.
        parts: Names of modules or parameters, such as "stack", "conditioners.mel" or "head.1".

    Raises:
        ValueError: If there is no such part, or nothing would be left to train.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for part in parts:
        chosen = modules.get(part) if part else None
        learnt = [parameters[part]] if part in parameters else list(chosen.parameters()) if chosen is not None else []
        if not learnt:
            known = [name for name, child in model.named_children() if any(True for _ in child.parameters())]
            meant = closest(part, [*modules, *parameters])
            hint = f"did you mean {meant}? " if meant else ""
            raise ValueError(f"freeze: the model has no weights in {part!r:.80}; {hint}it has {', '.join(known)}")
        for parameter in learnt:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError(f"freeze={parts} leaves nothing to train; leave some of them out")


def _take_names(conditioner: CategoricalEmbedding, other: CategoricalEmbedding) -> Names:
    """Take the vectors of the names that both know; the others begin at the mean of what is known."""
    learnt: nn.Embedding = other.embedding
    known = {name: other.find(name) for name in conditioner.categories}
    mean = learnt.weight.mean(dim=0)
    for index, name in enumerate(conditioner.categories):
        row = known[name]
        conditioner.embedding.weight[index] = mean if row is None else learnt.weight[row]
    taken = {row for row in known.values() if row is not None}
    return Names(
        [name for name, row in known.items() if row is not None],
        [name for name, row in known.items() if row is None],
        [name for row, name in enumerate(other.categories) if row not in taken],
    )
