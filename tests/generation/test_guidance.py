"""Classifier-free guidance, and models that may go without their conditions."""

import pytest
import torch

import wavenet
from tests.configured import build_model, conditions_for, settings
from tests.conftest import lively
from wavenet.generation.guidance import GuidedWaveNet
from wavenet.generation.uniforms import uniforms
from wavenet.nn import Condition

SAMPLES = 48
SECONDS = SAMPLES / 8000
DROPPED = ["model.conditioners.speaker.dropout=0.1", "model.conditioners.mel.dropout=0.1"]
REFERENCE = {"backend": "reference", "num": 2, "seed": 4}


@pytest.fixture
def model():
    """A model of speakers and mel spectrograms, trained with dropout as far as its vectors go."""
    model = lively(build_model(*settings(["speaker", "mel"]), *DROPPED)).double().eval()
    for conditioner in model.conditioners.values():
        torch.nn.init.normal_(conditioner.absent)
    return model


@pytest.fixture
def told(model):
    return conditions_for(model, 2, SAMPLES)


def test_guidance_1_is_none(model, told):
    made = wavenet.generate(model, SECONDS, conditions=told, **REFERENCE)
    assert torch.equal(wavenet.generate(model, SECONDS, conditions=told, guidance=1.0, **REFERENCE), made)
    backend = wavenet.stream(model, SECONDS, conditions=told, guidance=1, **REFERENCE)._backend
    assert not isinstance(backend._model, GuidedWaveNet)  # and it costs nothing


def test_guidance_0_is_the_model_that_is_told_nothing(model, told):
    made = wavenet.generate(model, SECONDS, conditions=told, guidance=0.0, **REFERENCE)
    assert torch.equal(made, wavenet.generate(model, SECONDS, **REFERENCE))
    assert not torch.equal(made, wavenet.generate(model, SECONDS, conditions=told, **REFERENCE))


def test_each_condition_can_be_left_out(model, told):
    made = {tuple(given): wavenet.generate(model, SECONDS, conditions=given, **REFERENCE) for given in part_of(told)}
    assert len({tuple(audio.flatten().tolist()) for audio in made.values()}) == 4
    model.conditioners["mel"].absent = None
    with pytest.raises(ValueError, match="the model needs mel: give mel_from=RECORDING"):
        wavenet.generate(model, SECONDS, conditions={"speaker": "ann"}, **REFERENCE)


def part_of(told):
    return [told, {"mel": told["mel"]}, {"speaker": told["speaker"]}, {}]


@pytest.mark.parametrize("given", range(3))
def test_guidance_2_goes_twice_as_far_from_what_is_said_without(model, told, given):
    """Logits u + 2 (c - u) at each step; also where only one of the conditions is told."""
    told = part_of(told)[given]
    made = wavenet.generate(model, SECONDS, conditions=told, guidance=2.0, **REFERENCE)
    heard = torch.cat([torch.zeros(2, 1), made[:, :-1]], dim=1).double()
    with torch.inference_mode():
        c, _ = model(heard, model.condition(told, 2))
        u, _ = model(heard, model.condition({}, 2))
        guided = GuidedWaveNet(model, 2.0)
        logits, _ = guided(heard, guided.condition(model.condition(told, 2), 2))
    torch.testing.assert_close(logits, u + 2 * (c - u), rtol=1e-12, atol=1e-12)
    assert torch.equal(model.distribution.sample(logits, uniforms([4, 5], 0, SAMPLES, 1)).float(), made)


@pytest.mark.parametrize("guidance", [0.5, 3.0])
def test_guided_audio_is_the_same_for_any_chunks_alone_and_continued(model, told, guidance):
    options = REFERENCE | {"conditions": told, "guidance": guidance}
    prompt = torch.rand(2, 9) - 0.5
    for begin, prompts in ((0, [None, None]), (9, prompt)):
        both = None if begin == 0 else prompt
        seconds = (SAMPLES - begin) / 8000
        whole = wavenet.generate(model, seconds, prompt=both, **options)
        for chunk in (1, 7):
            assert torch.equal(wavenet.generate(model, seconds, prompt=both, chunk=chunk, **options), whole)
        for k in range(2):
            own = {"conditions": {"speaker": told["speaker"][k], "mel": told["mel"][k]}, "num": 1, "seed": 4 + k}
            assert torch.equal(wavenet.generate(model, seconds, prompt=prompts[k], **options | own)[0], whole[k])
        begun = wavenet.stream(model, [5 / 8000, 11 / 8000], prompt=both, **options)
        list(begun)
        continued = wavenet.generate(model, 20 / 8000, state=begun.state, **options)
        assert torch.equal(continued, torch.stack([whole[0, 5:25], whole[1, 11:31]]))


def test_the_cpu_backend_says_that_it_cannot_guide(model, told):
    model = model.float()
    with pytest.warns(UserWarning, match="slower backend 'reference', because cpu: it cannot guide"):
        wavenet.generate(model, 2 / 8000, num=2, conditions=told, guidance=2.0)
    with pytest.raises(ValueError, match="no backend serves this model: cpu: it cannot guide"):
        wavenet.generate(model, 2 / 8000, num=2, conditions=told, guidance=2.0, backend="cpu")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (settings(["speaker"]), "guidance is 2, but the model cannot go without speaker; train with dropout"),
        ([*settings(["speaker", "mel"]), DROPPED[0]], "guidance is 2, but the model cannot go without mel; train with"),
        (settings([]), "guidance is 2, but the model has no conditions; train with dropout"),
        ([*settings(["speaker"], context=True), DROPPED[0]], "guidance is 2.*, but the model has a context stack"),
        (
            [*settings(["speaker"]), DROPPED[0], "model/distribution=gaussian"],
            "GaussianMixture has none; use guidance=1",
        ),
        ([*settings(["speaker"]), DROPPED[0], "model/distribution=logistic_mixture"], "LogisticMixture has none"),
    ],
)
def test_what_cannot_be_guided_is_named(overrides, message):
    model = build_model(*overrides)
    told = conditions_for(model, 1, SAMPLES)
    with pytest.raises(ValueError, match=message):
        wavenet.stream(model, SECONDS, conditions=told, guidance=2)


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), "much"])
def test_guidance_that_is_no_number_is_named(model, told, guidance):
    with pytest.raises(ValueError, match=f"guidance is {guidance!r}; it must be a number"):
        wavenet.stream(model, SECONDS, num=2, conditions=told, guidance=guidance)


def test_a_condition_and_its_absence_lie_side_by_side(model):
    guided = GuidedWaveNet(model, 2.0)
    told = Condition(torch.randn(2, 4, 6, dtype=torch.float64), 4, 3)
    both = guided.condition(told, 2)
    assert (both.hop_length, both.offset) == (4, 3)
    assert torch.equal(both.values[:, :4], told.values)
    assert torch.equal(both.values[:, 4:], model.condition({}, 2).values.expand(-1, -1, 6))
