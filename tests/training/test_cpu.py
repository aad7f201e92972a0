"""Native training on a CPU has the same outputs and gradients as the model."""

import math

import pytest
import torch
from torch import nn

from tests.conftest import Contour
from wavenet import WaveNet
from wavenet.audio import mu_law_encode
from wavenet.conditioning import CategoricalEmbedding
from wavenet.distributions import MuLawCategorical, OutputDistribution
from wavenet.native import Layout, UnknownNetworkError
from wavenet.nn import Condition
from wavenet.optimizers.adjacent import merged, place_adjacent
from wavenet.training import CPUNetwork

LARGEST = 1e-5  # relative error of any gradient, as a vector; the largest measured was 2e-6


class Gaussian(OutputDistribution):
    """A distribution with real-valued input and two parameters, which native code does not contain."""

    in_channels, parameter_channels, num_uniforms, baseline_bits = 1, 2, 2, 1.0

    def encode(self, waveform):
        return waveform.unsqueeze(1)

    def log_prob(self, parameters, waveform):
        mean, log_scale = parameters.unbind(1)
        return -0.5 * ((waveform - mean) * (-log_scale).exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)

    def log2_levels(self, waveform):
        return torch.zeros_like(waveform)

    def sample(self, parameters, uniforms, temperature=1.0, top_k=None):
        raise NotImplementedError


def results(log_prob, model, inputs, precision):
    """Return log-probabilities, and the gradients of all weights and inputs for one direction of all samples."""
    waveform, condition = (None if x is None else x.detach().to(precision) for x in inputs)
    wrapped = None
    if condition is not None:
        wrapped = Condition(condition.requires_grad_(), hop_length=1 if condition.shape[-1] > 1 else None)
    model.zero_grad()
    got = log_prob(waveform, wrapped)
    direction = torch.linspace(-1, 1, got.numel(), dtype=precision).sin().reshape(got.shape)
    (got * direction).sum().backward()
    gradients = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
    if condition is not None:
        gradients["the condition"] = condition.grad.double()
    return got.detach().double(), gradients


def check(model, waveform, condition=None):
    """Compare with the model in float64; where large terms cancel out, allow twice PyTorch's own error in float32."""
    inputs = (waveform, condition)
    native = results(CPUNetwork(model).log_prob, model, inputs, torch.float32)
    single = results(lambda x, h: model.log_prob(x, h)[0], model, inputs, torch.float32)
    plain = results(lambda x, h: model.log_prob(x, h)[0], model.double(), inputs, torch.float64)
    model.float()
    torch.testing.assert_close(native[0], plain[0], rtol=1e-5, atol=1e-4)
    assert native[1].keys() == plain[1].keys()
    for name, wanted in plain[1].items():
        error, unavoidable = (
            (gradients[name] - wanted).norm() / wanted.norm().clamp(min=1e-12) for gradients in (native[1], single[1])
        )
        assert error < max(LARGEST, 2 * unavoidable), f"{name}: {error}, and {unavoidable} in PyTorch"


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """Set the number of threads; more threads than cores wait for each other for longer, but finish."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_any_number_of_threads(small, threads, batch):
    model = small(dilation_cycle=6, input_kernel_size=3, kernel_size=3)
    check(model, torch.rand(batch, 700) * 2 - 1)


def test_threads_are_left_to_a_small_network(small, threads, monkeypatch):
    network, waveform = CPUNetwork(small()), torch.rand(3, 300) * 2 - 1
    before = network.log_prob(waveform)
    with pytest.raises(KeyError), network.owning_threads():
        assert torch.get_num_threads() == 1
        assert torch.equal(network.log_prob(waveform), before)
        raise KeyError
    assert torch.get_num_threads() == threads
    monkeypatch.setattr("wavenet.training.cpu._SMALL", 10)
    with CPUNetwork(small()).owning_threads():
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 600])
def test_any_length(small, length):
    check(small(dilation_cycle=8), torch.rand(2, length) * 2 - 1)


@pytest.mark.parametrize(
    "numbers",
    [
        {"residual_channels": 1, "gate_channels": 2, "skip_channels": 1, "dilation_cycle": 1, "num_cycles": 1},
        {"residual_channels": 64, "gate_channels": 128, "skip_channels": 256},
        {"residual_channels": 33, "gate_channels": 70, "skip_channels": 129},
        {"kernel_size": 1, "input_kernel_size": 1},
        {"kernel_size": 5, "input_kernel_size": 4},
        {"bias": False},
        {"bias": False, "input_bias": False, "output_projection": True},
        {"head_channels": 3},
        {"head_channels": 70, "skip_channels": 35},
        {"groups": 2, "gate_channels": 12},
        {"residual_scale": 0.5**0.5},
        {"last_residual": True},
        {"weight_norm": True},
    ],
)
def test_any_shape(small, numbers):
    check(small(**numbers), torch.rand(3, 300) * 2 - 1)


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("channels", [3, 40])
def test_conditions(small, changing, channels, threads):
    model = small(speakers=("a", "b"), condition_channels=channels)
    check(model, torch.rand(3, 300) * 2 - 1, torch.randn(3, channels, 300 if changing else 1))


def test_gradients_reach_the_conditioners(small):
    for model, conditions in (
        (small(speakers=("a", "b")), {"speaker": ["b", "a"]}),
        (small(conditioner=Contour), {"contour": torch.randn(2, 1, 200)}),
    ):
        waveform = torch.rand(2, 200) * 2 - 1
        gradients = []
        for log_prob in (CPUNetwork(model).log_prob, lambda *args, model=model: model.log_prob(*args)[0]):
            model.zero_grad()
            log_prob(waveform, model.condition(conditions, 2)).sum().backward()
            gradients.append([p.grad.clone() for p in model.conditioners.parameters() if p.grad is not None])
        assert len(gradients[0]) == len(list(model.conditioners.parameters()))
        for native, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(native, plain, rtol=1e-4, atol=1e-4)


def test_a_distribution_unknown_to_native_code():
    conditioners = {"speaker": CategoricalEmbedding("speaker", ["a"], 4)}
    model = WaveNet(
        Gaussian(),
        8000,
        conditioners,
        residual_channels=8,
        gate_channels=12,
        skip_channels=16,
        condition_channels=4,
        dilation_cycle=5,
        num_cycles=2,
        input_kernel_size=2,
    )
    check(model, torch.rand(2, 333) * 2 - 1, torch.randn(2, 4, 1))


def test_two_passes_at_once_and_one_after_the_other(small):
    """Their buffers are separate, and are reused."""
    model = small()
    network, waveforms = CPUNetwork(model), torch.rand(3, 2, 400) * 2 - 1

    def gradient(*losses):
        model.zero_grad()
        for loss in losses:
            loss.sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    alone = [gradient(network.log_prob(x)) for x in waveforms]
    first, second = network.log_prob(waveforms[0]), network.log_prob(waveforms[1])
    together = gradient(second, first)
    for both, a, b in zip(together, alone[0], alone[1], strict=True):
        torch.testing.assert_close(both, a + b)
    for again, before in zip(gradient(network.log_prob(waveforms[2])), alone[2], strict=True):
        assert torch.equal(again, before)


@pytest.mark.parametrize("classes", [2, 10, 32, 33, 256, 300])
def test_any_number_of_classes(small, classes, threads):
    """The softmax is part of the native code; outputs that only fill up its panels have no probability."""
    check(small(distribution=lambda: MuLawCategorical(classes, 5)), torch.rand(2, 300) * 2 - 1)


@pytest.mark.parametrize("offset", [-3e4, -300.0, 300.0, 3e4])
def test_logits_of_any_size(small, offset):
    """As the softmax does not change with an offset, neither may it overflow; sharp ones have log-probability 0."""
    model, waveform = small(), torch.rand(2, 300) * 2 - 1
    before = CPUNetwork(model).log_prob(waveform)
    with torch.no_grad():
        model.head[3].bias.add_(offset)
    got = CPUNetwork(model).log_prob(waveform)
    torch.testing.assert_close(got, before, rtol=1e-4, atol=10 * abs(offset) * 2**-24)  # ten sums are rounded
    with torch.no_grad():
        model.head[3].weight.zero_()
        model.head[3].bias.copy_(torch.linspace(0, 3e4, len(model.head[3].bias)))
    got, wanted = CPUNetwork(model).log_prob(waveform), model.log_prob(waveform)[0]
    torch.testing.assert_close(got, wanted)
    got.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def smoothed(self, parameters, waveform):
    """Log-probabilities of smoothed labels."""
    own = parameters.log_softmax(1)
    classes = mu_law_encode(waveform, self.num_classes)
    return 0.9 * own.gather(1, classes.unsqueeze(1)).squeeze(1) + 0.1 * own.mean(1)


def test_a_softmax_of_ones_own_is_not_replaced(small, monkeypatch):
    class Smoothed(MuLawCategorical):
        log_prob = smoothed

    waveform = torch.rand(2, 300) * 2 - 1
    check(small(distribution=lambda: Smoothed(16, 5)), waveform)
    model = small()
    model.distribution.log_prob = lambda parameters, waveform: smoothed(model.distribution, parameters, waveform)
    native = CPUNetwork(model).log_prob(waveform)
    torch.testing.assert_close(native, model.log_prob(waveform)[0], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(MuLawCategorical, "log_prob", smoothed)
    with pytest.raises(UnknownNetworkError, match="its outputs differ"):
        CPUNetwork(small()).verify()


def test_weights_are_read_at_every_call(small):
    model = small()
    network, waveform = CPUNetwork(model), torch.rand(1, 200) * 2 - 1
    before = network.log_prob(waveform)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert not torch.allclose(network.log_prob(waveform), before)
    torch.testing.assert_close(network.log_prob(waveform), model.log_prob(waveform)[0], rtol=1e-4, atol=1e-4)


def test_weights_that_were_replaced_or_moved_are_read(small):
    model = small()
    network, waveform = CPUNetwork(model), torch.rand(1, 200) * 2 - 1
    before = network.log_prob(waveform)
    model.stack.layers[1].skip.weight = nn.Parameter(torch.randn_like(model.stack.layers[1].skip.weight))
    after = network.log_prob(waveform)
    assert not torch.allclose(after, before)
    place_adjacent(reversed(list(model.parameters())))  # another order in memory
    for values in (after, network.log_prob(waveform)):
        torch.testing.assert_close(values, model.log_prob(waveform)[0], rtol=1e-4, atol=1e-4)

    model.head[1].weight.data = model.head[1].weight.data.double()
    with pytest.raises(UnknownNetworkError, match="head.1.weight is float64, not float32"):
        network.log_prob(waveform)
    model.head[1].weight.data = model.head[1].weight.data.float().reshape(-1, 1, model.head[1].weight.shape[0])
    with pytest.raises(UnknownNetworkError, match=r"head.1.weight is \(.+\), not \("):
        network.log_prob(waveform)


def test_gradients_follow_each_other_in_the_order_of_the_values(small):
    model = small()
    place_adjacent(reversed(list(model.parameters())))
    CPUNetwork(model).log_prob(torch.rand(1, 200) * 2 - 1).sum().backward()
    gathered = Layout(model).stored()
    ((values, gradients),) = merged(gathered, [parameter.grad for parameter in gathered])
    assert values.numel() == gradients.numel() == sum(parameter.numel() for parameter in gathered)
    assert torch.equal(gradients, torch.cat([p.grad.flatten() for p in sorted(gathered, key=torch.Tensor.data_ptr)]))


def test_nan_stays_nan(small):
    for name in ("stack.layers.0.dilated.conv.weight", "head.1.bias", "head.3.bias"):
        model = small()
        with torch.no_grad():
            dict(model.named_parameters())[name].view(-1)[0] = math.nan
        assert CPUNetwork(model).log_prob(torch.rand(1, 50)).isnan().any()


def test_unsupported_uses_are_rejected(small, monkeypatch):
    model = small()
    loss = CPUNetwork(model).log_prob(torch.rand(1, 50)).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward was called a second time"):
        loss.backward()
    loss = CPUNetwork(model).log_prob(torch.rand(1, 50)).sum()
    with torch.no_grad():
        model.head[1].bias.add_(1)
        nn.init.zeros_(model.stack.layers[0].dilated.conv.weight)
    loss.backward()  # the weights were copied when they were read, so later changes do not matter

    assert CPUNetwork.unsupported_reason(model) is None
    assert "float64" in CPUNetwork.unsupported_reason(small(dtype=torch.float64))
    assert "on meta" in CPUNetwork.unsupported_reason(small().to("meta"))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert "NUMBA_DISABLE_JIT" in CPUNetwork.unsupported_reason(model)


def test_wrong_conditions_are_named(small):
    waveform = torch.rand(2, 50)
    with pytest.raises(ValueError, match="no condition was given, but the model was built for one"):
        CPUNetwork(small(speakers=("a",))).log_prob(waveform)
    with pytest.raises(ValueError, match="the conditions cover 49 samples; the audio has 50"):
        CPUNetwork(small(speakers=("a",))).log_prob(waveform, Condition(torch.zeros(2, 3, 49), 1))
    with pytest.raises(ValueError, match=r"values are \(2, 4, 1\); for this model they must be \(2, 3, L\)"):
        CPUNetwork(small(speakers=("a",))).log_prob(waveform, Condition(torch.zeros(2, 4, 1)))
    with pytest.raises(ValueError, match="a condition was given, but the model was built for none"):
        CPUNetwork(small()).log_prob(waveform, Condition(torch.zeros(2, 3, 1)))


def test_verification_takes_another_segment_where_gradients_differ(small, monkeypatch):
    network = CPUNetwork(small())
    log_prob, doubled = network.log_prob, [True, False]

    def once(waveform, condition=None):
        outputs = log_prob(waveform, condition)
        return 2 * outputs - outputs.detach() if doubled.pop(0) else outputs  # the same outputs, another gradient

    monkeypatch.setattr(network, "log_prob", once)
    network.verify()
    assert not doubled
    doubled += [True, True, True]
    with pytest.raises(UnknownNetworkError, match=r"the gradient of \S+ differs from the PyTorch network's"):
        network.verify()
    assert not doubled
