"""The contract of conditioners, held by every one that configs/ names."""

import json

import pytest
import torch

import wavenet
from tests.configured import CATEGORIES, NAMES, build_model, choices, conditions_for, settings
from wavenet.checkpoint import build, describe
from wavenet.conditioning import CategoricalEmbedding

each = pytest.mark.parametrize("name", [name for name in choices("model/conditioners") if name != "none"])


def conditioner_of(name, *overrides):
    """A model with the one conditioner of this config, and that conditioner."""
    model = build_model(*settings([name]), *(f"model.conditioners.{NAMES.get(name, name)}.{o}" for o in overrides))
    return model, model.conditioners[NAMES.get(name, name)]


def test_none_is_no_condition():
    assert not build_model(*settings([])).conditioners


@each
def test_utterances_differ_and_their_samples_are_covered(name):
    model, conditioner = conditioner_of(name)
    conditions = conditions_for(model, 2, 40)
    condition = conditioner(conditions, 2)
    assert condition.values.shape[:2] == (2, 4)
    assert condition.num_samples >= 40
    assert not torch.equal(condition.values[0], condition.values[1])
    second = {name: [value[1]] * 2 if isinstance(value, list) else value[1] for name, value in conditions.items()}
    both = conditioner(second, 2)
    assert torch.equal(both.values[0], both.values[1])
    torch.testing.assert_close(both.values[1], condition.values[1])


@each
def test_every_parameter_has_a_gradient(name):
    model, conditioner = conditioner_of(name, "dropout=0.25")
    values = conditioner(conditions_for(model, 3, 80), 3, torch.tensor([0.9, 0.1, 0.3])).values
    (values * torch.randn_like(values)).sum().backward()
    for parameter_name, parameter in conditioner.named_parameters():
        assert parameter.grad.abs().sum() > 0, parameter_name


@each
def test_below_dropout_stands_the_learned_vector(name):
    model, conditioner = conditioner_of(name, "dropout=0.25")
    torch.nn.init.normal_(conditioner.absent)
    conditions = conditions_for(model, 4, 40)
    whole = conditioner(conditions, 4)
    condition = conditioner(conditions, 4, torch.tensor([0.0, 0.2499, 0.25, 0.99]))
    assert (condition.hop_length, condition.offset) == (whole.hop_length, whole.offset)
    assert torch.equal(condition.values[:2], conditioner.absent.expand_as(condition.values[:2]))
    assert torch.equal(condition.values[2:], whole.values[2:])
    for nothing in ({}, {conditioner.name: None}):
        assert torch.equal(conditioner(nothing, 3).values, conditioner.absent.expand(3, -1, -1))


@each
def test_without_dropout_a_value_must_be_given(name):
    model, conditioner = conditioner_of(name)
    assert conditioner.absent is None
    conditions = conditions_for(model, 2, 40)
    for nothing in ({}, {conditioner.name: None}):
        with pytest.raises(ValueError, match=f"the model needs (a )?{conditioner.name}: give "):
            conditioner(nothing, 2)
    # the uniforms have no effect on it
    assert torch.equal(conditioner(conditions, 2, torch.zeros(2)).values, conditioner(conditions, 2).values)


@each
@pytest.mark.parametrize("overrides", [(), ("dropout=0.1",)])
def test_its_description_builds_the_same_and_a_saved_model_comes_back(name, overrides, tmp_path):
    model, conditioner = conditioner_of(name, *overrides)
    config = json.loads(json.dumps(describe(conditioner)))
    assert describe(build(config)) == config
    again = wavenet.load(wavenet.save(model, tmp_path / "model"))
    assert describe(again) == describe(model)
    assert again.margin == model.margin
    assert again.features == model.features
    conditions = conditions_for(model, 2, 40)
    assert torch.equal(again.condition(conditions, 2).values, model.condition(conditions, 2).values)
    x = torch.rand(2, 40) - 0.5
    assert torch.equal(again(x, again.condition(conditions, 2))[0], model(x, model.condition(conditions, 2))[0])


@each
@pytest.mark.parametrize("dropout", ["-0.1", "1", "1.5"])
def test_wrong_dropout_is_named(name, dropout):
    with pytest.raises(
        Exception, match=f"dropout is {float(dropout):g}.*; it must be a number of at least 0 and below 1"
    ):
        conditioner_of(name, f"dropout={dropout}")


def test_categories_of_the_tests_are_those_of_the_configs():
    named = {name for name in choices("model/conditioners") if name in CATEGORIES}
    assert named == set(CATEGORIES)


def test_one_name_serves_the_whole_batch():
    speakers = CategoricalEmbedding("speaker", ["ann", "bob"], 4)
    one, each = speakers({"speaker": "bob"}, 2), speakers({"speaker": ["bob", "bob"]}, 2)
    assert torch.equal(one.values, each.values)
    assert one.hop_length is None


def test_unknown_and_missing_names_list_the_known():
    speakers = CategoricalEmbedding("speaker", ["ann", "bob"], 4)
    with pytest.raises(ValueError, match="unknown speaker 'eve'; choose from ann, bob"):
        speakers({"speaker": "eve"}, 1)
    with pytest.raises(ValueError, match="needs a speaker: give speaker=NAME, one of ann, bob"):
        speakers({}, 1)
    with pytest.raises(ValueError, match="3 values of speaker were given for a batch of 2"):
        speakers({"speaker": ["ann"] * 3}, 2)


def test_wrong_categories_are_named():
    with pytest.raises(ValueError, match="categories is \\[\\]; it must be a list of 1 to "):
        CategoricalEmbedding("speaker", [], 4)
    with pytest.raises(ValueError, match=r"has \['ann'\] more than once"):
        CategoricalEmbedding("speaker", ["ann", "bob", "ann"], 4)
