import re

import pytest
import torch

from tests.configured import build_full_size
from tests.contract import verify_streaming
from wavenet import WaveNet
from wavenet.conditioning import CategoricalEmbedding, MelConditioner
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.native import unsupported_reason
from wavenet.nn import ContextStack
from wavenet.training import ExponentialMovingAverage, WaveNetTraining


def waveform(batch, length, dtype=torch.float32):
    return torch.rand(batch, length, dtype=dtype) * 2 - 1


def test_the_future_never_leaks(small):
    model = small()
    x = waveform(2, 40)
    changed = x.clone()
    changed[:, 16:] = waveform(2, 24)
    a, b = model(x)[0], model(changed)[0]
    assert torch.equal(a[..., :16], b[..., :16])
    assert not torch.equal(a[..., 16:], b[..., 16:])


@pytest.mark.parametrize(("kernel_size", "input_kernel_size"), [(2, 1), (2, 2), (3, 1), (3, 4)])
def test_gradient_sees_just_the_receptive_field(small, kernel_size, input_kernel_size):
    model = small(dtype=torch.float64, kernel_size=kernel_size, input_kernel_size=input_kernel_size)
    embedded = []
    model.distribution.embedding.register_forward_hook(lambda _, __, out: (out.retain_grad(), embedded.append(out))[0])
    model(waveform(1, 80, torch.float64))[0][..., 70].sum().backward()
    seen = embedded[0].grad.abs().sum(dim=-1).flatten().nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (70 - model.receptive_field + 1, 70)


def test_a_notebook_shows_a_table(small):
    shown = small(("june", "<ann>"))._repr_html_()
    rows = dict(re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", shown))
    assert rows == {
        "Parameters": "1,626",
        "Sample rate": "2000 Hz",
        "Receptive field": "15 samples, 8 ms",
        "Layers": "6: 2 x 3, kernel size 2",
        "Channels": "6 residual, 8 gate, 10 skip",
        "Output distribution": "16 mu-law classes",
        "Condition: speaker": "2 names",
    }
    assert repr(small()).startswith("WaveNet(\n  (distribution): MuLawCategorical(")


def test_its_table_has_all_parts_escaped(small):
    name = "<b>"
    conditioners = {
        name: CategoricalEmbedding(name, ["x"], 4, dropout=0.1),
        "mel": MelConditioner(8000, 4),
    }
    context = ContextStack(condition_channels=4)
    model = WaveNet(MuLawCategorical(), 8000, conditioners, context, condition_channels=4)
    shown = model._repr_html_()
    assert "<tr><th>Condition: &lt;b&gt;</th><td>1 name (optional)</td></tr>" in shown
    assert "<tr><th>Condition: mel</th><td>80 numbers for every 256 samples</td></tr>" in shown
    assert "<th>Context stack</th>" in shown
    assert name not in shown


def test_receptive_field_of_the_model():
    assert WaveNet(MuLawCategorical(), 16000, kernel_size=3).receptive_field == 6139
    assert WaveNet(MuLawCategorical(), 16000, kernel_size=2).receptive_field == 3070
    assert WaveNet(MuLawCategorical(), 16000, kernel_size=2, input_kernel_size=2).receptive_field == 3071


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("speakers", [(), ("ann", "bob")])
@pytest.mark.parametrize("numbers", [{}, {"kernel_size": 3, "input_kernel_size": 2}, {"num_cycles": 1, "bias": False}])
def test_whole_equals_chunks_equals_steps(small, numbers, speakers, dtype):
    model = small(speakers, dtype, **numbers)

    def step(piece, state):
        return model(piece, model.condition({"speaker": ["bob", "ann"]}, 2), state)

    verify_streaming(step, waveform(2, 45, dtype), model)


@pytest.mark.parametrize(
    ("distribution", "dtype"),
    [
        (lambda: MuLawCategorical(16, 5), torch.float64),
        (lambda: MuLawCategorical(16, 5), torch.float32),
        (LogisticMixture, torch.float64),  # a narrow scale magnifies float32's rounding
        (GaussianMixture, torch.float64),
    ],
    ids=["mulaw-float64", "mulaw-float32", "logistics", "gaussian"],
)
def test_log_prob_in_pieces(small, dtype, distribution):
    model = small(dtype=dtype, distribution=distribution)
    verify_streaming(lambda piece, state: model.log_prob(piece, None, state), waveform(2, 45, dtype), model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_whole_equals_chunks_after_averaged_weights_are_swapped_in(small, dtype):
    training = WaveNetTraining(small(("ann", "bob"), dtype), lr=0.01)
    average = ExponentialMovingAverage(0.9)
    average.setup(None, training, "fit")
    for _ in range(3):
        with torch.no_grad():
            for parameter in training.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        average._average_model.update_parameters(training)
    before = [p.clone() for p in training.parameters()]
    average._swap_models(training)
    assert not any(torch.equal(a, b) for a, b in zip(before, training.parameters(), strict=True))
    model = training.model
    verify_streaming(
        lambda piece, state: model(piece, model.condition({"speaker": "ann"}, 2), state), waveform(2, 45, dtype), model
    )


def test_log_prob_predicts_each_sample_from_those_before(small):
    model = small(dtype=torch.float64)
    x = waveform(1, 20, torch.float64)
    log_prob, state = model.log_prob(x)
    for t in (0, 1, 7, 19):
        inputs = torch.cat([torch.zeros(1, 1, dtype=torch.float64), x[:, :t]], dim=1)
        parameters = model(inputs)[0][..., -1:]
        torch.testing.assert_close(model.distribution.log_prob(parameters, x[:, t : t + 1])[:, 0], log_prob[:, t])
    assert torch.equal(state.previous, x[:, -1:])


def test_every_parameter_is_used(small):
    model = small(("ann", "bob"))
    model.log_prob(waveform(2, 20), model.condition({"speaker": ["ann", "bob"]}, 2))[0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_speakers_differ_and_order_does_not_matter(small):
    model = small(("ann", "bob"))
    x = waveform(1, 20).expand(2, -1)
    both = model(x, model.condition({"speaker": ["ann", "bob"]}, 2))[0]
    turned = model(x, model.condition({"speaker": ["bob", "ann"]}, 2))[0]
    assert not torch.allclose(both[0], both[1])
    torch.testing.assert_close(both, turned.flip(0))


def test_wrong_input_is_named(small):
    with pytest.raises(ValueError, match=r"a sample is 1\.5; samples must lie in \[-1, 1\]"):
        small()(torch.tensor([[0.0, 1.5]]))
    with pytest.raises(ValueError, match="a sample is nan|a sample is inf"):
        small()(torch.tensor([[0.0, float("nan")]]))
    conditioner = CategoricalEmbedding("speaker", ["ann"], 7)
    with pytest.raises(ValueError, match="conditioners.speaker.condition_channels is 7; it must be the model's 32"):
        WaveNet(MuLawCategorical(), 16000, {"speaker": conditioner})
    with pytest.raises(ValueError, match="sample_rate is 0"):
        WaveNet(MuLawCategorical(), 0)
    with pytest.raises(ValueError, match="gate_channels is 3; it must be an even number"):
        WaveNet(MuLawCategorical(), 16000, gate_channels=3)
    with pytest.raises(ValueError, match="dilation_cycle is 0"):
        WaveNet(MuLawCategorical(), 16000, dilation_cycle=0)


def test_means_are_not_rounded_by_autocast(small):
    """Parameters that represent 16-bit samples have the precision of float32; the rest of the network is unchanged."""
    model = small(distribution=lambda: GaussianMixture(3))
    plain = small()
    assert model.state_dict().keys() - plain.state_dict().keys() == set()
    x = waveform(2, 200)
    with torch.autocast("cpu", torch.bfloat16):
        rough, (parameters, _) = plain(x)[0], model(x)
        log_prob, _ = model.log_prob(x)
    assert rough.dtype == torch.bfloat16
    assert parameters.dtype == log_prob.dtype == torch.float32
    assert (parameters.bfloat16().float() != parameters).float().mean() > 0.9
    torch.testing.assert_close(parameters, model(x)[0], rtol=0.05, atol=0.05)
    log_prob.mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_networks_input_is_as_precise_as_its_weights(small, dtype):
    model = small(dtype=dtype, distribution=LogisticMixture)
    assert model(waveform(1, 20))[0].dtype == dtype


@pytest.mark.parametrize(("kernel_size", "input_kernel_size"), [(2, 1), (3, 4)])
def test_gradient_sees_just_the_receptive_field_of_both_stacks(small, kernel_size, input_kernel_size):
    context = ContextStack(3, pool=4, residual_channels=4, gate_channels=6, skip_channels=5, dilation_cycle=4)
    numbers = {"kernel_size": kernel_size, "input_kernel_size": input_kernel_size, "dilation_cycle": 2}
    model = small(
        dtype=torch.float64, context=context, distribution=lambda: GaussianMixture(encoding_channels=4), **numbers
    )
    assert model.receptive_field > model.stack.receptive_field + input_kernel_size
    farthest = 0
    for t in range(
        2 * model.receptive_field, 2 * model.receptive_field + 8
    ):  # it is longest at one of a frame's positions
        x = waveform(1, t + 5, torch.float64).requires_grad_()
        model(x)[0][..., t].sum().backward()
        seen = x.grad[0].nonzero().flatten()
        assert seen.max() == t
        farthest = max(farthest, t - seen.min().item() + 1)
    assert farthest == model.receptive_field


def test_the_baseline_of_sashimi_has_as_many_parameters_as_published():
    """Parameters counted in the published code: state-spaces/s4, src/models/baselines/wavenet.py, 4 cycles of 10.

    Filters and gates, residual and skip of 40 layers without biases; the convolution before them; the head's two and
    the linear layer after it, with biases; and the embedding.
    """
    layer = 2 * 64 * 64 * 2 + 64 * 64 + 64 * 1024
    head = (1024 * 512 + 512) + (512 * 256 + 256) + (256 * 256 + 256)
    assert 40 * layer + 256 * 64 + head + 256 * 256 == 4_244_480
    model = build_full_size("model=sashimi_baseline")
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_244_480
    assert unsupported_reason(model) is None
