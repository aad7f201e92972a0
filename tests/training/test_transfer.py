"""Models that begin with another one's weights, and parts that are not trained."""

import pytest
import torch

from wavenet.conditioning import CategoricalEmbedding
from wavenet.distributions import MuLawCategorical
from wavenet.training import freeze, take_weights

PLACE = "conditioners.speaker.embedding.weight"


def test_vectors_are_taken_by_name_and_new_ones_begin_at_the_mean(small):
    source, model = small(("ann", "ben", "cat")), small(("dan", "cat", "ann"))
    found = take_weights(model, source)
    theirs, own = source.state_dict()[PLACE], model.state_dict()[PLACE]
    assert torch.equal(own[1], theirs[2]) and torch.equal(own[2], theirs[0])
    torch.testing.assert_close(own[0], theirs.mean(dim=0))
    names = found.names["speaker"]
    assert (names.kept, names.new, names.dropped) == (["cat", "ann"], ["dan"], ["ben"])
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in source.state_dict().items() if name != PLACE
    )
    assert (found.fresh, found.dropped) == ([], []) and PLACE not in found.taken


def test_what_has_another_shape_begins_fresh_and_is_named(small):
    source, model = small(("ann",)), small(("ann",), skip_channels=12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = take_weights(model, source)
    for name, value in model.state_dict().items():
        wide = "skip" in name or name.startswith("head")
        if name in found.fresh:
            assert wide and torch.equal(value, before[name])
    assert {"head.1.weight", "head.3.weight"} <= set(found.fresh) and set(found.fresh) <= set(found.dropped)
    assert sorted([*found.taken, *found.fresh, PLACE]) == sorted(name for name, _ in model.named_parameters())


def test_a_condition_that_the_other_lacks_begins_fresh(small):
    source, model = small(("ann",), condition_channels=3), small(("ann",), condition_channels=3)
    model.conditioners["gender"] = CategoricalEmbedding("gender", ["F", "M"], 3)
    assert take_weights(model, source).fresh == ["conditioners.gender.embedding.weight"]
    assert take_weights(source, model).dropped == ["conditioners.gender.embedding.weight"]


def test_a_model_into_which_nothing_fits_is_refused(small):
    other = small(residual_channels=7, gate_channels=4, skip_channels=5, distribution=lambda: MuLawCategorical(8, 3))
    with pytest.raises(ValueError, match="none of its weights have a place in this model; leave out the settings"):
        take_weights(small(), other)


def test_parts_are_frozen_by_their_names(small):
    model = small(("ann",))
    freeze(model, ["stack", "head.1", "input.conv.bias"])
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = ("stack.", "head.1.", "input.conv.bias")
    assert learnt == {name for name, _ in model.named_parameters() if not name.startswith(frozen)}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ["stak"],
            r"freeze: the model has no weights in 'stak'; did you mean stack\? it has distribution, conditioners,",
        ),
        ([""], "freeze: the model has no weights in ''"),
        (["head.0"], "freeze: the model has no weights in 'head.0'"),  # an activation
        (
            ["stack", "input", "head", "distribution", "conditioners"],
            r"^freeze=\[.*\] leaves nothing to train; leave some",
        ),
    ],
)
def test_parts_that_cannot_be_frozen_are_named(small, parts, message):
    with pytest.raises(ValueError, match=message):
        freeze(small(("ann",)), parts)
