"""The interface of output distributions, tested for every distribution in configs/."""

import math

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.conftest import ROOT
from wavenet.audio import mu_law_decode, mu_law_encode
from wavenet.checkpoint import build, describe
from wavenet.distributions import GaussianMixture, LogisticMixture, Mixture, MuLawCategorical, OutputDistribution

FILES = sorted((ROOT / "configs" / "model" / "distribution").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda f: f.stem)
def distribution(request):
    cfg = OmegaConf.create({"model": {"residual_channels": 6, "distribution": OmegaConf.load(request.param)}})
    return instantiate(cfg.model.distribution)


def draw(distribution, batch=2, length=50):
    parameters = torch.randn(batch, distribution.parameter_channels, length)
    return parameters, torch.rand(batch, distribution.num_uniforms, length)


def test_encode_has_the_stated_channels_and_finite_values(distribution):
    encoded = distribution.encode(torch.rand(2, 50) * 2 - 1)
    assert encoded.shape == (2, distribution.in_channels, 50)
    assert distribution.encode(torch.tensor([[-1.0, 0.0, 1.0]])).isfinite().all()


def test_log_prob_has_finite_gradients_everywhere(distribution):
    parameters, _ = draw(distribution, 2, 5)
    parameters.requires_grad_()
    waveform = torch.tensor([[-1.0, 1.0, 0.0, 0.3, -0.7]]).expand(2, -1)
    log_prob = distribution.log_prob(parameters, waveform)
    assert log_prob.shape == (2, 5)
    log_prob.sum().backward()
    assert parameters.grad.isfinite().all()


def test_log_prob_of_bfloat16_parameters_is_float32(distribution):
    parameters, _ = draw(distribution)
    waveform = torch.rand(2, 50) * 2 - 1
    low = distribution.log_prob(parameters.bfloat16(), waveform)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, distribution.log_prob(parameters.bfloat16().float(), waveform))


def test_samples_are_a_function_of_the_uniforms_time_by_time(distribution):
    parameters, uniforms = draw(distribution)
    whole = distribution.sample(parameters, uniforms)
    assert whole.shape == (2, 50)
    assert whole.abs().max() <= 1
    assert torch.equal(whole, distribution.sample(parameters, uniforms))
    steps = [distribution.sample(parameters[..., t : t + 1], uniforms[..., t : t + 1]) for t in range(50)]
    assert torch.equal(whole, torch.cat(steps, dim=1))


def test_a_small_temperature_approaches_temperature_zero(distribution):
    """A mixture's components are far apart here: only then is its mode that of a component."""
    parameters, uniforms = draw(distribution)
    if isinstance(distribution, Mixture):
        count = distribution.num_mixtures
        parameters[:, -2 * count : -count] = torch.linspace(-0.8, 0.8, count)[:, None] + 0.01 * torch.rand(2, count, 50)
        parameters[:, -count:] -= 8
    mode = distribution.sample(parameters, uniforms, temperature=0)
    assert torch.equal(distribution.sample(parameters, uniforms, temperature=1e-12), mode)
    assert torch.equal(distribution.sample(parameters, torch.rand_like(uniforms), temperature=0), mode)
    assert not torch.equal(distribution.sample(parameters, uniforms), mode)


def test_bits_are_comparable_with_those_of_16_bit_samples(distribution):
    """Each value of a distribution represents some 16-bit levels, and all values together represent all of them."""
    levels = torch.arange(-(2**15), 2**15).reshape(2, -1) / 2**15
    log2_levels = distribution.log2_levels(levels)
    assert (log2_levels.shape, log2_levels.dtype) == (levels.shape, torch.float32)
    assert (-log2_levels.double()).exp2().sum().item() == pytest.approx(2**distribution.baseline_bits, rel=1e-6)


def test_drawn_samples_are_levels(distribution):
    parameters, uniforms = draw(distribution)
    levels = distribution.levels()
    assert len(levels) == 2**distribution.baseline_bits and (levels.diff() > 0).all()
    assert torch.isin(distribution.sample(parameters, uniforms), levels).all()


def test_encode_refuses_values_that_are_not_samples(distribution):
    for bad in (1.0001, -2.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"samples must lie in \[-1, 1\]"):
            distribution.encode(torch.tensor([[0.0, bad]]))
        with pytest.raises(ValueError, match=r"samples must lie in \[-1, 1\]"):
            distribution.log_prob(draw(distribution, 1, 2)[0], torch.tensor([[0.0, bad]]))


def test_top_k_is_refused_without_classes(distribution):
    parameters, uniforms = draw(distribution)
    if distribution.supports_top_k:
        distribution.sample(parameters, uniforms, top_k=3)
    else:
        with pytest.raises(ValueError, match="top_k is 3, .* over 16-bit samples, has .* use top_k=null and a"):
            distribution.sample(parameters, uniforms, top_k=3)


def test_a_description_builds_the_same(distribution):
    assert describe(build(describe(distribution))) == describe(distribution)


@pytest.mark.parametrize(
    ("distribution", "label"),
    [
        (MuLawCategorical(300, 4), "300 mu-law classes"),
        (LogisticMixture(10), "mixture of 10 logistics over 16-bit samples"),
        (LogisticMixture(1, bits=8), "single logistic over 8-bit samples"),
        (GaussianMixture(), "single Gaussian over 16-bit samples"),
        (GaussianMixture(2), "mixture of 2 Gaussians over 16-bit samples"),
    ],
)
def test_labels_are_the_terms_of_the_field(distribution, label):
    assert distribution.label == label


def test_a_distribution_of_ones_own_is_labelled_by_its_class():
    class Laplace(OutputDistribution):
        baseline_bits = encode = log_prob = log2_levels = sample = None

    class LaplaceMixture(Mixture):
        _log_prob_of_each = _log_mass = _log_density = _pull = _inverse_cumulative = None

    assert Laplace().label == "Laplace" and LaplaceMixture(2, 16, 4, -9.0).label == "LaplaceMixture"


def test_categorical_probabilities_sum_to_one():
    distribution = MuLawCategorical(64, 3)
    parameters = torch.randn(5, 64, 1)
    levels = mu_law_decode(torch.arange(64), 64)
    total = sum(distribution.log_prob(parameters, level.expand(5, 1)).exp() for level in levels)
    torch.testing.assert_close(total, torch.ones(5, 1), rtol=0, atol=1e-5)


def test_categorical_log_prob_equals_float64_reference():
    distribution = MuLawCategorical(256, 3)
    parameters, classes = torch.randn(2, 256, 20) * 5, torch.randint(256, (2, 20))
    exact = parameters.double().log_softmax(dim=1).gather(1, classes.unsqueeze(1)).squeeze(1)
    log_prob = distribution.log_prob(parameters, mu_law_decode(classes))
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-5)


def test_categorical_baseline_is_the_uniform_distribution():
    distribution = MuLawCategorical(256, 3)
    log_prob = distribution.log_prob(torch.zeros(1, 256, 4), torch.rand(1, 4))
    torch.testing.assert_close(log_prob, torch.full((1, 4), -math.log(256)))
    assert distribution.baseline_bits == 8


def test_categorical_sampling_reproduces_the_distribution():
    """Pearson's chi-squared against its 1 - 1e-6 quantile: a false alarm in a million seeds."""
    distribution = MuLawCategorical(8, 3)
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5, 2.0, -1.0, 0.3, 1.5])
    n = 200_000
    samples = distribution.sample(logits.reshape(1, 8, 1).expand(1, 8, n), torch.rand(1, 1, n))
    levels = mu_law_decode(torch.arange(8), 8)
    counts = torch.stack([(samples == level).sum() for level in levels]).double()
    assert counts.sum() == n
    expected = logits.double().softmax(dim=0) * n
    chi_squared = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_squared < 40.5218  # 7 degrees of freedom


def test_categorical_sampling_never_takes_classes_of_probability_zero():
    distribution = MuLawCategorical(4, 3)
    logits = torch.tensor([-math.inf, 0.0, 0.0, -math.inf]).reshape(1, 4, 1).expand(1, 4, 3)
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-24]).reshape(1, 1, 3)
    assert distribution.sample(logits, uniforms).tolist() == [mu_law_decode(torch.tensor([1, 2, 2]), 4).tolist()]


def test_top_k_keeps_the_most_likely_classes():
    distribution = MuLawCategorical(16, 3)
    parameters, uniforms = torch.randn(1, 16, 1).expand(1, 16, 5000), torch.rand(1, 1, 5000)
    kept = parameters[0, :, 0].topk(3).indices
    drawn = distribution.sample(parameters, uniforms, top_k=3).unique()
    assert torch.equal(drawn, mu_law_decode(kept, 16).sort().values)
    assert torch.equal(distribution.sample(parameters, uniforms, top_k=99), distribution.sample(parameters, uniforms))


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="num_classes is 1"):
        MuLawCategorical(1)
    with pytest.raises(ValueError, match="embedding_channels is 0"):
        MuLawCategorical(256, 0)


@pytest.mark.parametrize("piece", [1, 40, 10**6])
@pytest.mark.parametrize("channels_last", [False, True])
def test_categorical_log_prob_is_the_cross_entropy(monkeypatch, piece, channels_last):
    """In values and gradients, for any number of logits per piece and any memory layout."""
    monkeypatch.setattr("wavenet.distributions.mulaw_categorical._PIECE", piece)
    distribution, waveform = MuLawCategorical(16, 4), torch.rand(2, 30) * 2 - 1
    logits = 3 * torch.randn(2, 16, 30, dtype=torch.float64)
    if channels_last:
        logits = logits.transpose(1, 2).contiguous().transpose(1, 2)
    logits.requires_grad_()
    expected = -torch.nn.functional.cross_entropy(logits, mu_law_encode(waveform, 16), reduction="none")
    got = distribution.log_prob(logits, waveform)
    torch.testing.assert_close(got, expected)
    direction = torch.randn(2, 30, dtype=torch.float64)
    gradients = [torch.autograd.grad(log_prob, logits, direction)[0] for log_prob in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_categorical_log_prob_of_narrow_logits_is_float32():
    distribution, waveform = MuLawCategorical(16, 4), torch.rand(2, 30) * 2 - 1
    logits = torch.randn(2, 16, 30).bfloat16().requires_grad_()
    got = distribution.log_prob(logits, waveform)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, distribution.log_prob(logits.float(), waveform))
    got.sum().backward()
    assert logits.grad.dtype == torch.bfloat16 and logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", [lambda: LogisticMixture(3), lambda: GaussianMixture(3), GaussianMixture])
def test_runs_of_levels_are_as_likely_as_their_levels_together(kind):
    distribution = kind()
    parameters = torch.randn(1, distribution.parameter_channels, 6).double()
    parameters[:, -distribution.num_mixtures :] -= 6  # scales of a few hundred levels
    first = torch.tensor([[-(2**15), -900, -100, 0, 5, 2**15 - 256]])
    numbers = first[..., None] + torch.arange(256)
    each = distribution.log_prob(
        parameters[..., None].expand(-1, -1, -1, 256).flatten(2), (numbers / 2**15).double().flatten(1)
    )
    together = distribution.log_prob_of_levels(parameters, first, first + 255)
    # a Gaussian's density at a level is not quite its integral, and only the latter includes what is beyond the ends
    inner = slice(1, 5) if isinstance(distribution, GaussianMixture) else slice(None)
    tolerance = 1e-4 if isinstance(distribution, GaussianMixture) else 1e-9
    expected = each.reshape(1, 6, 256).logsumexp(dim=2)
    torch.testing.assert_close(together[:, inner], expected[:, inner], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [lambda: LogisticMixture(2), lambda: GaussianMixture(2), GaussianMixture])
@pytest.mark.parametrize("shift", [-20.0, -4.0, 0.0, 40.0])
def test_runs_that_cover_all_levels_are_certain(kind, shift):
    """From scales that are far narrower than a level to scales that are wider than all of them."""
    distribution = kind()
    parameters = torch.randn(1, distribution.parameter_channels, 50)
    parameters[:, -distribution.num_mixtures :] += shift
    low = torch.arange(-(2**15), 2**15, 256)
    runs = [
        distribution.log_prob_of_levels(parameters, *(torch.full((1, 50), int(k) + m) for m in (0, 255))) for k in low
    ]
    every = torch.stack(runs)
    assert every.isfinite().all()
    torch.testing.assert_close(every.logsumexp(dim=0), torch.zeros(1, 50).double(), rtol=0, atol=1e-9)


def test_a_level_of_a_gaussian_that_is_far_wider():
    """A difference of cumulative probabilities would have only four correct digits."""
    distribution = GaussianMixture()
    parameters = torch.tensor([[[0.25, -0.5], [14.0, 29.0]]]).double()  # means, and logarithms of the scales
    level = torch.tensor([[700, -3]])
    expected = distribution.log_prob(parameters, level.double() / 2**15)
    torch.testing.assert_close(distribution.log_prob_of_levels(parameters, level, level), expected, rtol=0, atol=1e-9)


def test_runs_of_whole_classes():
    distribution = MuLawCategorical(256)
    parameters = torch.randn(1, 256, 3)
    levels = torch.arange(-(2**15), 2**15)
    classes = mu_law_encode(levels / 2**15)
    low = torch.tensor([[levels[classes == c].min() for c in (0, 128, 250)]])
    high = torch.tensor([[levels[classes == c].max() for c in (0, 130, 255)]])
    log_prob = parameters.log_softmax(dim=1)[0]
    expected = torch.stack([log_prob[0, 0], log_prob[128:131, 1].logsumexp(0), log_prob[250:, 2].logsumexp(0)])
    torch.testing.assert_close(distribution.log_prob_of_levels(parameters, low, high)[0], expected)
    with pytest.raises(ValueError, match="256 mu-law classes have no probability for these runs"):
        distribution.log_prob_of_levels(parameters, low + 1, high)


def test_levels_of_other_resolutions_are_refused():
    for distribution in (LogisticMixture(2, bits=8), GaussianMixture(bits=12)):
        parameters, level = torch.randn(1, distribution.parameter_channels, 1), torch.zeros(1, 1, dtype=torch.long)
        with pytest.raises(ValueError, match="-bit samples has no probability for a run of 16-bit levels"):
            distribution.log_prob_of_levels(parameters, level, level)
