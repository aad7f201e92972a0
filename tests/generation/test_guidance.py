"""Classifier-free guidance, and models whose conditions can be left out."""

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
    """A model of speakers and mel spectrograms, with vectors of absent conditions as after training with dropout."""
    model = lively(build_model(*settings(["speaker", "mel"]), *DROPPED)).double().eval()
    for conditioner in model.conditioners.values():
        torch.nn.init.normal_(conditioner.absent)
    return model


@pytest.fixture
def conditions(model):
    return conditions_for(model, 2, SAMPLES)


def test_guidance_1_is_the_model_itself(model, conditions):
    audio = wavenet.generate(model, SECONDS, conditions=conditions, **REFERENCE)
    assert torch.equal(wavenet.generate(model, SECONDS, conditions=conditions, guidance=1.0, **REFERENCE), audio)
    backend = wavenet.stream(model, SECONDS, conditions=conditions, guidance=1, **REFERENCE)._backend
    assert not isinstance(backend._model, GuidedWaveNet)  # and it costs nothing


def test_guidance_0_is_the_model_without_conditions(model, conditions):
    audio = wavenet.generate(model, SECONDS, conditions=conditions, guidance=0.0, **REFERENCE)
    assert torch.equal(audio, wavenet.generate(model, SECONDS, **REFERENCE))
    assert not torch.equal(audio, wavenet.generate(model, SECONDS, conditions=conditions, **REFERENCE))


def test_each_condition_can_be_left_out(model, conditions):
    audio = {
        tuple(subset): wavenet.generate(model, SECONDS, conditions=subset, **REFERENCE)
        for subset in subsets_of(conditions)
    }
    assert len({tuple(samples.flatten().tolist()) for samples in audio.values()}) == 4
    model.conditioners["mel"].absent = None
    with pytest.raises(ValueError, match="the model needs mel: give mel_from=RECORDING"):
        wavenet.generate(model, SECONDS, conditions={"speaker": "ann"}, **REFERENCE)


def subsets_of(conditions):
    return [conditions, {"mel": conditions["mel"]}, {"speaker": conditions["speaker"]}, {}]


@pytest.mark.parametrize("subset", range(3))
def test_guidance_2_doubles_the_effect_of_the_conditions(model, conditions, subset):
    """Logits u + 2 (c - u) at each step; also with only one of the conditions."""
    conditions = subsets_of(conditions)[subset]
    audio = wavenet.generate(model, SECONDS, conditions=conditions, guidance=2.0, **REFERENCE)
    inputs = torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1).double()
    with torch.inference_mode():
        c, _ = model(inputs, model.condition(conditions, 2))
        u, _ = model(inputs, model.condition({}, 2))
        guided = GuidedWaveNet(model, 2.0)
        logits, _ = guided(inputs, guided.condition(model.condition(conditions, 2), 2))
    torch.testing.assert_close(logits, u + 2 * (c - u), rtol=1e-12, atol=1e-12)
    assert torch.equal(model.distribution.sample(logits, uniforms([4, 5], 0, SAMPLES, 1)).float(), audio)


@pytest.mark.parametrize("guidance", [0.5, 3.0])
def test_guided_audio_is_the_same_for_any_chunks_alone_and_continued(model, conditions, guidance):
    options = REFERENCE | {"conditions": conditions, "guidance": guidance}
    prompt = torch.rand(2, 9) - 0.5
    for begin, prompts in ((0, [None, None]), (9, prompt)):
        both = None if begin == 0 else prompt
        seconds = (SAMPLES - begin) / 8000
        whole = wavenet.generate(model, seconds, prompt=both, **options)
        for chunk in (1, 7):
            assert torch.equal(wavenet.generate(model, seconds, prompt=both, chunk=chunk, **options), whole)
        for k in range(2):
            own = {
                "conditions": {"speaker": conditions["speaker"][k], "mel": conditions["mel"][k]},
                "num": 1,
                "seed": 4 + k,
            }
            assert torch.equal(wavenet.generate(model, seconds, prompt=prompts[k], **options | own)[0], whole[k])
        begun = wavenet.stream(model, [5 / 8000, 11 / 8000], prompt=both, **options)
        list(begun)
        continued = wavenet.generate(model, 20 / 8000, state=begun.state, **options)
        assert torch.equal(continued, torch.stack([whole[0, 5:25], whole[1, 11:31]]))


def test_the_cpu_backend_does_not_support_guidance(model, conditions):
    model = model.float()
    with pytest.warns(UserWarning, match="slower backend 'reference', because cpu: it does not support guidance"):
        wavenet.generate(model, 2 / 8000, num=2, conditions=conditions, guidance=2.0)
    with pytest.raises(ValueError, match="no backend supports this model: cpu: it does not support guidance"):
        wavenet.generate(model, 2 / 8000, num=2, conditions=conditions, guidance=2.0, backend="cpu")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (settings(["speaker"]), "guidance is 2, but the model always needs speaker; train with dropout"),
        ([*settings(["speaker", "mel"]), DROPPED[0]], "guidance is 2, but the model always needs mel; train with"),
        (settings([]), "guidance is 2, but the model has no conditions; train with dropout"),
        ([*settings(["speaker"], context=True), DROPPED[0]], "guidance is 2.*, but the model has a context stack"),
        (
            [*settings(["speaker"]), DROPPED[0], "model/distribution=gaussian"],
            "and the output distribution, single Gaussian over 16-bit samples, has none; use guidance=1",
        ),
        ([*settings(["speaker"]), DROPPED[0], "model/distribution=logistic_mixture"], "10 logistics over .*, has none"),
    ],
)
def test_models_that_do_not_support_guidance_are_named(overrides, message):
    model = build_model(*overrides)
    conditions = conditions_for(model, 1, SAMPLES)
    with pytest.raises(ValueError, match=message):
        wavenet.stream(model, SECONDS, conditions=conditions, guidance=2)


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), "much"])
def test_guidance_that_is_not_a_number_is_named(model, conditions, guidance):
    with pytest.raises(ValueError, match=f"guidance is {guidance!r}; it must be a number"):
        wavenet.stream(model, SECONDS, num=2, conditions=conditions, guidance=guidance)


def test_conditional_and_unconditional_values_are_concatenated(model):
    guided = GuidedWaveNet(model, 2.0)
    condition = Condition(torch.randn(2, 4, 6, dtype=torch.float64), 4, 3)
    both = guided.condition(condition, 2)
    assert (both.hop_length, both.offset) == (4, 3)
    assert torch.equal(both.values[:, :4], condition.values)
    assert torch.equal(both.values[:, 4:], model.condition({}, 2).values.expand(-1, -1, 6))
