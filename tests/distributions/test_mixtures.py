"""Mixtures of logistics and of Gaussians, compared with independent computations."""

import math

import pytest
import torch
import torch.distributions as td

from wavenet import WaveNet
from wavenet.distributions import GaussianMixture, LogisticMixture
from wavenet.distributions.mixture import LOG_SCALE_MAX

MEANS = (0.0, 0.31, -0.9999, 0.99997, 1.0, 1.2, -3.0)  # also near the edges and beyond
CHI_SQUARED_15 = 56.4934  # the 1 - 1e-6 quantile for 15 degrees of freedom
KINDS = {"logistics": LogisticMixture, "gaussians": GaussianMixture}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def parameters_of(mixture, means, log_scales, logits=None):
    """Return parameters (B, P, T) of components (B, K, T), with raw log-scales that the smooth limit maps to these."""
    above = torch.as_tensor(log_scales).double() - mixture.log_scale_min
    raw = (mixture.log_scale_min + above + torch.log(-torch.expm1(-above))).float()  # the inverse of softplus
    return torch.cat([means, raw] if logits is None else [logits, means, raw], dim=1)


def cumulative(mixture, x, means, scales):
    """Return each component's probability of values below x, in float64."""
    z = (x.double() - means.double()) / scales.double()
    return z.sigmoid() if isinstance(mixture, LogisticMixture) else torch.special.ndtr(z)


def bin_probabilities(mixture, weights, means, scales):
    """Return the probabilities of all levels (N,), in float64, from components (K,); outer bins are unbounded."""
    ends = mixture.levels().double()[1:] - mixture.bin_width / 2
    below = (weights[:, None] * cumulative(mixture, ends, means[:, None], scales[:, None])).sum(dim=0)
    return torch.cat([below, torch.ones(1)]).diff(prepend=torch.zeros(1).double())


@pytest.mark.parametrize("log_scale", [-10.99, -9, -6, -2, 0, 3, 20])
def test_logistic_probabilities_sum_to_one(log_scale):
    """Over all 65536 bins in float32, the outer ones included."""
    mixture = LogisticMixture(1)
    for mean in MEANS:
        parameters = parameters_of(mixture, torch.full((1, 1, 1), mean), torch.full((1, 1, 1), log_scale))
        total = mixture.log_prob(parameters.expand(1, 2, 65536), mixture.levels()[None]).double().exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)


def test_probabilities_of_a_mixture_sum_to_one():
    mixture = LogisticMixture(10)
    for spread in (1, 5):
        parameters = spread * torch.randn(1, 30, 1)
        total = mixture.log_prob(parameters.expand(1, 30, 65536), mixture.levels()[None]).double().exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("log_scale", [-8.99, -6, -2, 0, 3])
def test_gaussian_density_integrates_to_the_probability_in_range(log_scale):
    """On a grid much finer than the bins: 1, less the probability beyond -1 and 1."""
    mixture, steps = GaussianMixture(1), 2**20
    x = (torch.arange(steps) + 0.5) * (2 / steps) - 1
    for mean in MEANS:
        parameters = parameters_of(mixture, torch.full((1, 1, 1), mean), torch.full((1, 1, 1), log_scale))
        density = mixture.log_prob(parameters.expand(1, 2, steps), x[None]).double().exp() / mixture.bin_width
        ends = cumulative(mixture, torch.tensor([-1.0, 1.0]), torch.tensor(mean), torch.tensor(math.exp(log_scale)))
        assert density.sum().item() * 2 / steps == pytest.approx((ends[1] - ends[0]).item(), abs=1e-5)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_logistic_log_prob_equals_differences_of_the_cumulative_distribution(bits):
    """In float64, where they are not too small for the naive form."""
    mixture = LogisticMixture(3, bits)
    logits, means, log_scales = torch.randn(3), torch.tensor([-1.1, 0.2, 0.7]), torch.tensor([-1.0, -4.0, -2.0])
    naive = bin_probabilities(mixture, logits.double().softmax(0), means, log_scales.exp()).log()
    levels = mixture.levels()
    parameters = parameters_of(mixture, *(x.reshape(1, 3, 1) for x in (means, log_scales, logits)))
    got = mixture.log_prob(parameters.expand(1, 9, len(levels)), levels[None])[0]
    torch.testing.assert_close(got.double(), naive, rtol=1e-5, atol=2e-5)
    off = (levels + 0.4 * mixture.bin_width).clamp(max=1)
    assert torch.equal(
        mixture.log_prob(parameters.expand(1, 9, len(levels)), off[None])[0], got
    )  # the nearest level counts
    assert torch.equal(mixture.log_prob(parameters, torch.ones(1, 1))[0], got[-1:])


@pytest.mark.parametrize("num_mixtures", [1, 4])
def test_gaussian_log_prob_equals_torchs_own(num_mixtures):
    mixture = GaussianMixture(num_mixtures)
    logits, means, log_scales = torch.randn(3, 2, num_mixtures, 100).double()
    log_scales = log_scales - 3
    normal = td.Normal(means.transpose(1, 2), log_scales.exp().transpose(1, 2))
    reference = td.MixtureSameFamily(td.Categorical(logits=logits.transpose(1, 2)), normal)
    x = torch.rand(2, 100) * 2 - 1
    components = [x.float() for x in (means, log_scales, logits)]
    parameters = parameters_of(mixture, *components[: 2 if num_mixtures == 1 else 3])
    expected = reference.log_prob(x.double()) + math.log(2 / 65536)
    torch.testing.assert_close(mixture.log_prob(parameters, x).double(), expected, rtol=1e-5, atol=1e-4)


@each_kind
def test_scales_have_a_smooth_lower_limit_and_an_upper_limit(kind):
    mixture = kind(1)
    raw = torch.tensor([-1e4, -40, mixture.log_scale_min - 5, 0, 25, 1e6]).reshape(1, 1, -1).requires_grad_()
    _, _, log_scales = mixture.components(torch.cat([torch.zeros_like(raw), raw], dim=1))
    assert log_scales.min() >= mixture.log_scale_min
    torch.testing.assert_close(log_scales[0, 0, 3:], torch.tensor([0, 25, LOG_SCALE_MAX]), rtol=0, atol=2e-4)
    log_scales.sum().backward()
    assert 0.005 < raw.grad[0, 0, 2] < 0.01  # sigmoid(-5): five below the limit, it still has a gradient


@each_kind
@pytest.mark.parametrize("num_mixtures", [1, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_for_extreme_parameters(kind, num_mixtures, dtype):
    mixture = kind(num_mixtures)
    parameters = (torch.randn(1, mixture.parameter_channels, 10000) * 20).to(dtype).requires_grad_()
    edges = torch.tensor([-1.0, 1.0, 0.0, 32767 / 32768, -32767 / 32768])
    waveform = torch.cat([edges.repeat(1000), torch.rand(5000) * 2 - 1])[None]
    log_prob = mixture.log_prob(parameters, waveform)
    assert log_prob.dtype == torch.float32 and log_prob.isfinite().all()
    log_prob.sum().backward()
    assert parameters.grad.isfinite().all()
    unlikely = log_prob < -100  # by far: values that are certain, or almost uniform, have no gradient
    assert unlikely.any() and (parameters.grad != 0).any(dim=1)[unlikely].all()


@each_kind
def test_gradients_equal_differences(kind):
    mixture = kind(3)
    parameters = torch.randn(1, 9, 6, dtype=torch.float64)
    parameters[:, 6:] -= 3
    waveform = torch.tensor([[-1.0, 0.0, 0.3, -0.7, 0.99997, 0.1]], dtype=torch.float64)
    torch.autograd.gradcheck(lambda p: mixture.log_prob(p, waveform), parameters.requires_grad_())


@each_kind
def test_encoding_follows_the_waveform_smoothly(kind):
    """Neighbouring levels differ; the gradient is right, also at 0; values are of about unit size."""
    mixture = kind(1)
    encoded = mixture.encode(mixture.levels()[None])[0]
    assert encoded.diff(dim=1).abs().amax(dim=0).min() > 1e-5
    assert 0.5 < encoded.square().mean().sqrt() < 2
    x = torch.tensor([[-1.0, -0.3, 0.0, 1e-4, 0.9]], dtype=torch.float64, requires_grad=True)
    assert mixture.encode(x).dtype == torch.float64
    step = 1e-7
    inside = x.detach().clamp(-1 + step, 1 - step)
    difference = (mixture.encode(inside + step) - mixture.encode(inside - step)).sum(dim=1) / (2 * step)
    (gradient,) = torch.autograd.grad(mixture.encode(x).sum(), x)
    smooth = [0, 1, 3, 4]  # companding has a kink in its curvature at 0, which affects the difference
    torch.testing.assert_close(gradient[:, smooth], difference[:, smooth], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient[:, 2], difference[:, 2], rtol=1e-2, atol=0)


@each_kind
def test_sampling_reproduces_the_distribution(kind):
    """Pearson's chi-squared over all bins, against its 1 - 1e-6 quantile: a false alarm in a million seeds."""
    mixture, n = kind(3, bits=4), 200_000
    logits, means, log_scales = (
        torch.tensor([0.3, -0.5, 0.8]),
        torch.tensor([-0.7, 0.1, 1.05]),
        torch.tensor([-1.0, -0.7, -0.6]),
    )
    parameters = parameters_of(mixture, *(x.reshape(1, 3, 1) for x in (means, log_scales, logits)))
    samples = mixture.sample(parameters.expand(1, 9, n), torch.rand(1, 2, n))
    expected = bin_probabilities(mixture, logits.double().softmax(0), means, log_scales.exp()) * n
    counts = torch.stack([(samples == level).sum() for level in mixture.levels()]).double()
    assert counts.sum() == n and expected.min() > 1000
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARED_15


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_the_densitys_power(temperature):
    """Of two Gaussians that hardly overlap, by the same test as above; the power is taken on a fine grid."""
    mixture, n = GaussianMixture(2, bits=4), 200_000
    logits, means, log_scales = torch.tensor([0.0, 0.4]), torch.tensor([-0.55, 0.4]), torch.tensor([-2.6, -1.9])
    parameters = parameters_of(mixture, *(x.reshape(1, 2, 1) for x in (means, log_scales, logits)))
    samples = mixture.sample(parameters.expand(1, 6, n), torch.rand(1, 2, n), temperature)
    x = torch.linspace(-3, 3, 600001).double()
    parts = td.Normal(means.double(), log_scales.double().exp()).log_prob(x[:, None]) + logits.double().log_softmax(0)
    density = (parts.logsumexp(dim=1) / temperature).exp()
    numbers = ((x * 8).round().clamp(-8, 7) + 8).long()
    expected = torch.zeros(16).double().index_add(0, numbers, density / density.sum()) * n
    counts = torch.stack([(samples == level).sum() for level in mixture.levels()]).double()
    likely = expected > 100  # where components overlap, the temperature is not exact, and the probability is tiny
    assert expected[likely].sum() > 0.99 * n
    assert ((counts - expected) ** 2 / expected)[likely].sum() < CHI_SQUARED_15


@each_kind
def test_no_uniform_gives_an_outlier(kind):
    """The ends of [0, 1) represent the midpoints of their intervals, whose variates are negatives of each other."""
    ends = torch.tensor([0.0, 1 - 2**-24])
    variates = kind(1).standard_variates(ends)
    assert variates.dtype == torch.float32
    assert 5 < variates[1] < 18
    assert variates[0] == -variates[1]
    mixture = kind(1)
    parameters = parameters_of(mixture, torch.zeros(1, 1, 2), torch.full((1, 1, 2), -5.0))
    samples = mixture.sample(parameters, torch.stack([ends, ends])[None])
    assert samples.abs().max() < 0.2


@each_kind
@pytest.mark.parametrize("num_mixtures", [1, 2, 10])
def test_temperature_zero_is_the_mode(kind, num_mixtures):
    """By a search over all levels; components overlap, merge or are separate."""
    mixture, cases = kind(num_mixtures, bits=10), 300
    means = torch.rand(cases, num_mixtures, 1) * 1.8 - 0.9
    log_scales = torch.randn(cases, num_mixtures, 1).clamp(-1.9, 3) * 1.2 - 3
    logits = None if num_mixtures == 1 else torch.randn(cases, num_mixtures, 1)
    parameters = parameters_of(mixture, means, log_scales, logits).double()
    found = mixture.sample(parameters, torch.rand(cases, 2, 1), temperature=0)
    levels = mixture.levels().double()[1:-1].expand(cases, -1)  # the outer bins also include everything beyond
    best = mixture.log_prob(parameters.expand(-1, -1, levels.shape[1]), levels).amax(dim=1)
    assert (best - mixture.log_prob(parameters, found.double())[:, 0]).max() < 1e-3
    if num_mixtures > 1:  # and it is not just the mean of a component
        assert (found - means[..., 0]).abs().amin(dim=1).max() > 2 * mixture.bin_width


@each_kind
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_mixtures": 0}, "num_mixtures is 0"),
        ({"encoding_channels": 0}, "encoding_channels is 0"),
        ({"bits": 1}, "bits is 1; it must be a whole number from 2 to 16"),
        ({"bits": 24}, "bits is 24; it must be a whole number from 2 to 16"),
        ({"log_scale_min": 3.0}, "log_scale_min is 3.0; it must be a number of at least -30 and at most 0"),
        ({"log_scale_min": math.nan}, "log_scale_min is nan"),
    ],
)
def test_wrong_numbers_are_named(kind, numbers, message):
    with pytest.raises(ValueError, match=message):
        kind(**numbers)


@pytest.mark.parametrize("distribution", [LogisticMixture(), GaussianMixture(), GaussianMixture(10)])
def test_a_new_model_starts_near_the_scale_of_speech(distribution):
    """Its log-scales are near first_log_scale, not 0; weights and means are unchanged."""
    model = WaveNet(distribution, 8000, dilation_cycle=3, num_cycles=1)
    with torch.inference_mode():
        _, means, log_scales = distribution.components(model(torch.rand(1, 50) - 0.5)[0])
    assert (log_scales - distribution.first_log_scale).abs().max() < 0.5
    assert means.abs().max() < 0.5
