"""Bits per byte against explicit sums."""

import math

import pytest
import soundfile
import torch

from wavenet.audio import mu_law_decode, mu_law_encode, stretched
from wavenet.data import Corpus
from wavenet.data.corpus import Prepared
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.evaluation.bits_per_byte import Clips, clip_bits, unsupported_reason, utterance_bytes

CLASSES = {"mu_law": mu_law_encode, "linear": lambda x: (x * 2**15).round().long() // 256 + 128}


def sound(length=60):
    return (torch.randint(-(2**15), 2**15, (length,)) / 2**15).float()


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(250).numpy() / 3, 2000)
    return Corpus("noise", 2000, [Prepared("a", path, path, 250, 0.125, {"speaker": "ann"})], [])


def by_hand(model, x, conditions=None):
    """Predict each sample of a clip from only the clip's samples before it, one by one."""
    condition, total = model.condition(conditions, 1), 0.0
    for t in range(len(x)):
        inputs = torch.cat([torch.zeros(1), x[:t]])[None]
        total -= model.distribution.log_prob(model(inputs, condition)[0][..., -1:], x[None, t : t + 1]).item()
    return total / math.log(2)


def test_clips_begin_without_context(small, corpus):
    model = small(("ann",), distribution=lambda: MuLawCategorical(256, 5))
    x, conditions = corpus.read(0), {"speaker": "ann"}
    expected = [by_hand(model, x[start : start + 100], conditions) for start in (0, 100, 200)]
    clips = Clips(0.05, stretch=False)
    score = utterance_bytes(model, corpus, 0, clips)
    assert score.bits == pytest.approx(sum(expected), rel=1e-5)
    assert (score.samples, score.utterances) == (250, 1)
    whole = utterance_bytes(model, corpus, 0, Clips(1, stretch=False))
    assert whole.bits == pytest.approx(by_hand(model, x, conditions), rel=1e-5)
    assert abs(whole.bits - score.bits) > 1e-3
    without_rest = utterance_bytes(model, corpus, 0, Clips(0.05, stretch=False, drop_rest=True))
    assert (without_rest.samples, without_rest.bits) == (200, pytest.approx(sum(expected[:2]), rel=1e-5))
    assert utterance_bytes(model, corpus, 0, Clips(1, drop_rest=True)).samples == 0


def test_clips_are_stretched_one_by_one(small, corpus):
    model = small(("ann",), distribution=lambda: MuLawCategorical(256, 5))
    x, conditions = corpus.read(0), {"speaker": "ann"}
    expected = 0.0
    for clip in x.split(100):
        full = -1 + 2 * (clip - clip.min()) / (clip.max() - clip.min() + 1e-6)
        level = (full * 2**15).round().clamp(max=2**15 - 1) / 2**15
        expected += by_hand(model, mu_law_decode(mu_law_encode(level)), conditions)
    assert utterance_bytes(model, corpus, 0, Clips(0.05)).bits == pytest.approx(expected, rel=1e-5)
    full = stretched(x)
    assert full.min() == -1 and full.max() == pytest.approx(1, abs=1e-5)
    assert torch.equal(stretched(torch.full((5,), 0.3)), torch.full((5,), -1.0))


@pytest.mark.parametrize("quantization", ["mu_law", "linear"])
@pytest.mark.parametrize("distribution", [lambda: LogisticMixture(2), lambda: GaussianMixture(2)])
def test_a_mixtures_byte_is_all_of_its_levels(small, distribution, quantization):
    """Every sample's probability is summed over the 16-bit levels of its byte, and the decoded bytes are the inputs."""
    model = small(distribution=distribution).double()
    x, levels = sound(12), torch.arange(-(2**15), 2**15) / 2**15
    bytes_of_levels, numbers = CLASSES[quantization](levels), CLASSES[quantization](x)
    decoded = mu_law_decode(numbers) if quantization == "mu_law" else (numbers + 0.5) / 128 - 1
    inputs = torch.cat([torch.zeros(1), decoded[:-1]]).double()
    parameters = model(inputs[None])[0]
    expected = 0.0
    for t in range(len(x)):
        inside = levels[bytes_of_levels == numbers[t]].double()
        at = parameters[..., t : t + 1].expand(-1, -1, len(inside))
        expected -= model.distribution.log_prob(at, inside[None]).logsumexp(dim=1).item() / math.log(2)
    # the sum of Gaussian densities at the levels is not quite their integral, nor are the tails in it
    tolerance = 1e-6 if isinstance(model.distribution, LogisticMixture) else 2e-3
    assert clip_bits(model, x, quantization) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("quantization", ["mu_law", "linear"])
@pytest.mark.parametrize(
    "distribution", [lambda: LogisticMixture(3), GaussianMixture, lambda: MuLawCategorical(256, 5)]
)
def test_the_probabilities_of_all_bytes_sum_to_1(small, distribution, quantization):
    model = small(distribution=distribution)
    if unsupported_reason(model, Clips(quantization=quantization)):
        assert isinstance(model.distribution, MuLawCategorical) and quantization == "linear"
        return
    numbers = torch.arange(256)
    values = mu_law_decode(numbers) if quantization == "mu_law" else (numbers - 128) * 256 / 2**15
    share = sum(2 ** -clip_bits(model, value[None].float(), quantization) for value in values)
    assert share == pytest.approx(1, rel=1e-5)


def test_the_reason_for_having_no_bits_per_byte(small, monkeypatch):
    assert unsupported_reason(small(distribution=lambda: MuLawCategorical(256, 5)), Clips()) is None
    linear = Clips(quantization="linear")
    assert "256 mu-law classes have no probability" in unsupported_reason(
        small(distribution=lambda: MuLawCategorical(256, 5)), linear
    )
    for classes in (16, 300, 65536):
        model = small(distribution=lambda classes=classes: MuLawCategorical(classes, 5))
        reason = unsupported_reason(model, Clips())
        assert reason.startswith(f"mu_law bytes: {classes} mu-law classes have no probability")
    assert "a distribution of 8-bit samples has no probability" in unsupported_reason(
        small(distribution=lambda: LogisticMixture(2, bits=8)), Clips()
    )
    with pytest.raises(ValueError, match="Clips: seconds is 0; it must be above 0"):
        Clips(0)
    with pytest.raises(ValueError, match="quantization is 'a_law'; it must be mu_law or linear"):
        Clips(quantization="a_law")
