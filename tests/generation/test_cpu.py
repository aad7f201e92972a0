"""The CPU backend compared with the reference backend."""

import os
import subprocess
import sys

import pytest
import torch
from numba import types

import wavenet
from scripts.benchmarks import generation as benchmark
from wavenet import WaveNet
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.generation.cpu import CPUBackend
from wavenet.generation.cpu_kernels import run
from wavenet.generation.uniforms import uniforms
from wavenet.native import with_rounded_weights
from wavenet.native.instructions import HAS_FLOAT16, LANES

pytestmark = pytest.mark.slow  # compiles a form of the loop for each kind of weights

SHAPES = {name: benchmark.SHAPES[name] for name in ("S", "M30", "L")} | {
    "nothing fits": {"residual_channels": 37, "gate_channels": 46, "skip_channels": 41, "kernel_size": 3},
    "one of each": {"residual_channels": 1, "gate_channels": 2, "skip_channels": 1, "dilation_cycle": 1},
    "no past": {"kernel_size": 1, "num_cycles": 1},
    "many taps": {"kernel_size": 6, "dilation_cycle": 4, "num_cycles": 2, "residual_channels": 20},
    "a narrow head": {"head_channels": 3, "dilation_cycle": 3},
    "a wide head": {"head_channels": 300, "skip_channels": 35, "dilation_cycle": 3, "output_projection": True},
    "groups": {"groups": 4, "gate_channels": 24, "dilation_cycle": 3, "last_residual": True},
    "scaled": {"residual_scale": 0.5**0.5, "weight_norm": True, "dilation_cycle": 3, "dropout": 0.5},
    "input taps": {"input_kernel_size": 4, "dilation_cycle": 3, "residual_channels": 130, "bias": False},
}

MIXTURES = {
    "logistics": LogisticMixture,
    "gaussian": GaussianMixture,
    "gaussians": lambda: GaussianMixture(3),
    "a logistic of 8 bits": lambda: LogisticMixture(1, 8, 3),
}
each_mixture = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)

needs_float16 = pytest.mark.skipif(not HAS_FLOAT16, reason="this processor has no float16")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_parameters_equal_the_reference(shape, batch):
    model = WaveNet(MuLawCategorical(), 16000, **SHAPES[shape]).eval()
    with torch.no_grad():
        for parameter in model.head[-1].parameters():
            parameter.mul_(20)  # so that the parameters are far apart
    x = torch.rand(batch, 150) * 2 - 1
    with torch.inference_mode():
        expected, _ = model(x)
    assert expected.std() > 0.3
    torch.testing.assert_close(CPUBackend(model).parameters(x), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("speakers", [(), ("ann", "bob")])
@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("kernel_size", [2, 4])
def test_parameters_with_conditions_equal_the_reference(small, contour, speakers, changing, kernel_size):
    model = small(speakers, conditioner=contour, kernel_size=kernel_size)
    x = torch.rand(3, 70) * 2 - 1
    contours = torch.randn(3, 1, 70 if changing else 1)
    condition = model.condition({"contour": contours, "speaker": ["ann", "bob", "ann"]}, 3)
    with torch.inference_mode():
        expected, _ = model(x, condition)
    got = CPUBackend(model).parameters(x, condition)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)
    for k in range(3):
        assert torch.equal(CPUBackend(model).parameters(x[k : k + 1], condition.select([k]))[0], got[k])


def test_drawn_samples_equal_the_reference():
    """Over 16 000 samples, except for uniforms within rounding of a boundary between classes."""
    torch.manual_seed(1)
    model = WaveNet(MuLawCategorical(), 16000, dilation_cycle=8, num_cycles=2).eval()
    with torch.no_grad():
        model.head[3].weight.mul_(10)
    audio = wavenet.generate(model, 1.0, seed=3, backend="cpu")
    assert audio.unique().numel() > 100
    drawn = uniforms([3], 0, 16000)
    with torch.inference_mode():
        parameters, _ = model(torch.cat([torch.zeros(1, 1), audio[:, :-1]], dim=1))
        again = model.distribution.sample(parameters, drawn)
    cumulative = parameters[0].double().softmax(dim=0).cumsum(dim=0)
    distance = (cumulative - drawn[0].double()).abs().amin(dim=0)
    differs = (audio != again)[0]
    assert (distance[differs] < 2e-6).all()
    assert differs.sum() < 20


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0])
def test_mixtures_samples_equal_the_reference(small, mixture, temperature):
    """With its own audio as input, the model draws the same; where rounding decides, the neighbouring level.

    That happens once in tens of samples: a mean is uncertain by some 1e-7, a 16-bit level is 3e-5 wide.
    """
    model = small(distribution=mixture, dilation_cycle=6)
    x = torch.rand(2, 150) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(CPUBackend(model).parameters(x), model(x)[0], atol=1e-4, rtol=0)
        audio = wavenet.generate(model, 1.0, num=2, seed=3, backend="cpu", temperature=temperature)
        parameters, _ = model(torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1))
        again = model.distribution.sample(parameters, uniforms([3, 4], 0, 2000, 2), temperature)
    difference = (audio - again).abs() / model.distribution.bin_width
    assert audio.unique().numel() > (1 if temperature == 0 else 20)
    assert (difference > 1).sum() <= 1  # a uniform number within rounding of the next component
    assert (difference > 0).float().mean() < 0.05


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0])
def test_mixtures_are_the_same_for_any_batch_threads_and_chunks(small, mixture, temperature):
    """To the bit: a chunk's first input is the loop's own last value."""
    model = small(("ann",), distribution=mixture, gate_channels=6 * LANES)
    options = {"speaker": "ann", "backend": "cpu", "temperature": temperature}
    whole = wavenet.generate(model, 0.2, num=3, threads=1, **options)
    for threads, chunk in ((1, 7), (2, 100), (8, 4000)):
        assert torch.equal(wavenet.generate(model, 0.2, num=3, threads=threads, chunk=chunk, **options), whole)
    assert torch.equal(wavenet.generate(model, 0.2, seed=1, **options), whole[1:2])


def test_a_prompt_between_the_levels_is_not_rounded(small):
    model = small(distribution=GaussianMixture)
    prompt = torch.full((30,), 0.3 + 1e-5)
    audio = wavenet.generate(model, 0.1, prompt=prompt, backend="cpu")
    inputs = torch.cat([torch.zeros(1), prompt, audio[0, :-1]])[None]
    again = model.distribution.sample(model(inputs)[0][..., 30:], uniforms([0], 0, 200, 2))
    assert (audio - again).abs().max() <= model.distribution.bin_width


def test_an_unknown_distribution_is_refused(small):
    class Mine(GaussianMixture):
        pass

    reason = CPUBackend.unsupported_reason(small(distribution=Mine))
    assert reason == "it does not support the output distribution Mine"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_threads_change_nothing(batch):
    """Also more threads than utterances, which share the layers, and more threads than panels."""
    model = WaveNet(MuLawCategorical(), 16000, gate_channels=18 * LANES, dilation_cycle=3, num_cycles=1).eval()
    one = wavenet.generate(model, 0.02, num=batch, backend="cpu", threads=1)
    for threads in (2, 3, 8, 12):
        assert torch.equal(wavenet.generate(model, 0.02, num=batch, backend="cpu", threads=threads), one)
    assert torch.equal(wavenet.generate(model, 0.02, num=batch, backend="cpu"), one)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"top_k": 3}, {"temperature": 0}, {"temperature": 1e-30}]
)
def test_options_of_drawing(small, options):
    model = small()
    audio = [wavenet.generate(model, 0.3, num=2, backend=name, **options) for name in ("cpu", "reference")]
    assert torch.equal(*audio)


@pytest.mark.parametrize(
    ("weights", "tolerance"), [pytest.param("float16", 2e-3, marks=needs_float16), ("bfloat16", 2e-2), ("int8", 5e-2)]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_narrower_weights_change_the_parameters_a_little(weights, tolerance, batch):
    model = WaveNet(MuLawCategorical(), 16000, kernel_size=3, dilation_cycle=4, num_cycles=2).eval()
    with torch.no_grad():
        model.head[3].weight.mul_(10)
    x = torch.rand(batch, 100) * 2 - 1
    exact = CPUBackend(model).parameters(x)
    error = (CPUBackend(model, weights=weights).parameters(x) - exact).abs().max() / exact.abs().max()
    assert 0 < error < tolerance
    with torch.inference_mode():
        scored, _ = with_rounded_weights(model, weights)(x)  # what `wavenet evaluate weights=...` scores
    torch.testing.assert_close(CPUBackend(model, weights=weights).parameters(x), scored, atol=1e-4, rtol=0)
    audio = wavenet.generate(model, 0.02, num=batch, weights=weights)
    assert torch.equal(audio, wavenet.generate(model, 0.02, num=batch, weights=weights, threads=3, chunk=17))


def test_one_compilation_serves_all_shapes(small, contour):
    models = small(), small(("ann",), kernel_size=4, residual_channels=70), small(input_kernel_size=3)
    for model in (*models, small(distribution=LogisticMixture), small(distribution=GaussianMixture)):
        for options in ({}, {"top_k": 3}, {"num": 3, "temperature": 0.5}, {"threads": 2}):
            if "top_k" in options and not model.distribution.supports_top_k:
                continue
            speaker = "ann" if "speaker" in model.conditioners else None
            wavenet.generate(model, 0.01, speaker=speaker, backend="cpu", **options)
    model = small(conditioner=contour)
    wavenet.generate(model, 0.01, conditions={"contour": torch.zeros(1, 1, 20)}, backend="cpu")
    assert sum(signature[0].dtype == types.float32 for signature in run.signatures) == 1


def test_compiled_code_is_cached_on_disk(tmp_path):
    code = (
        "import torch; from wavenet import generate, WaveNet; from wavenet.distributions import MuLawCategorical\n"
        "generate(WaveNet(MuLawCategorical(), 8000, num_cycles=1).eval(), 0.001)\n"
        "from wavenet.generation.cpu_kernels import run; print(sum(run.stats.cache_hits.values()))"
    )
    for hits in ("0", "1"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.stdout.strip(), done.stderr) == (hits, "")
