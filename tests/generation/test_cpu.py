"""The CPU backend against the reference, and its kernels against plain arithmetic."""

import os
import subprocess
import sys
from itertools import product as combinations

import numpy as np
import pytest
import torch
from numba import njit, types

import wavenet
from wavenet import WaveNet
from wavenet.benchmark import generation as benchmark
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.generation import cpu_kernels as kernels
from wavenet.generation.cpu import WEIGHTS, CPUBackend, mixture_settings, with_rounded_weights
from wavenet.generation.uniforms import uniforms

SHAPES = {name: benchmark.SHAPES[name] for name in ("S", "M30", "L")} | {
    "nothing fits": {"residual_channels": 37, "gate_channels": 46, "skip_channels": 41, "kernel_size": 3},
    "one of each": {"residual_channels": 1, "gate_channels": 2, "skip_channels": 1, "dilation_cycle": 1},
    "no past": {"kernel_size": 1, "num_cycles": 1},
    "many taps": {"kernel_size": 6, "dilation_cycle": 4, "num_cycles": 2, "residual_channels": 20},
    "input taps": {"input_kernel_size": 4, "dilation_cycle": 3, "residual_channels": 130, "bias": False},
}

MIXTURES = {
    "logistics": LogisticMixture,
    "gaussian": GaussianMixture,
    "gaussians": lambda: GaussianMixture(3),
    "a logistic of 8 bits": lambda: LogisticMixture(1, 8, 3),
}
each_mixture = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)

needs_float16 = pytest.mark.skipif(not kernels.HAS_FLOAT16, reason="this processor has no float16")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_parameters_equal_the_reference(shape, batch):
    model = WaveNet(MuLawCategorical(), 16000, **SHAPES[shape]).eval()
    with torch.no_grad():
        model.head[3].weight.mul_(20)  # so that the parameters are far apart
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
    course = torch.randn(3, 1, 70 if changing else 1)
    condition = model.condition({"contour": course, "speaker": ["ann", "bob", "ann"]}, 3)
    with torch.inference_mode():
        expected, _ = model(x, condition)
    got = CPUBackend(model).parameters(x, condition)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)
    for k in range(3):
        assert torch.equal(CPUBackend(model).parameters(x[k : k + 1], condition.of([k]))[0], got[k])


def test_drawn_samples_equal_the_reference():
    """Over 16 000 samples, but for uniforms that fall within rounding of a boundary between classes."""
    torch.manual_seed(1)
    model = WaveNet(MuLawCategorical(), 16000, dilation_cycle=8, num_cycles=2).eval()
    with torch.no_grad():
        model.head[3].weight.mul_(10)
    made = wavenet.generate(model, 1.0, seed=3, backend="cpu")
    assert made.unique().numel() > 100
    drawn = uniforms([3], 0, 16000)
    with torch.inference_mode():
        parameters, _ = model(torch.cat([torch.zeros(1, 1), made[:, :-1]], dim=1))
        again = model.distribution.sample(parameters, drawn)
    cumulative = parameters[0].double().softmax(dim=0).cumsum(dim=0)
    distance = (cumulative - drawn[0].double()).abs().amin(dim=0)
    differs = (made != again)[0]
    assert (distance[differs] < 2e-6).all()
    assert differs.sum() < 20


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0])
def test_mixtures_samples_equal_the_reference(small, mixture, temperature):
    """Fed with its own audio, the model draws the same; where rounding decides, the neighbouring level.

    That is once in tens of samples: a mean is uncertain by some 1e-7, a 16-bit level is 3e-5 wide.
    """
    model = small(distribution=mixture, dilation_cycle=6)
    x = torch.rand(2, 150) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(CPUBackend(model).parameters(x), model(x)[0], atol=1e-4, rtol=0)
        made = wavenet.generate(model, 1.0, num=2, seed=3, backend="cpu", temperature=temperature)
        parameters, _ = model(torch.cat([torch.zeros(2, 1), made[:, :-1]], dim=1))
        again = model.distribution.sample(parameters, uniforms([3, 4], 0, 2000, 2), temperature)
    difference = (made - again).abs() / model.distribution.bin_width
    assert made.unique().numel() > (1 if temperature == 0 else 20)
    assert (difference > 1).sum() <= 1  # a uniform number within rounding of the next component
    assert (difference > 0).float().mean() < 0.05


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0])
def test_mixtures_are_the_same_for_any_batch_threads_and_chunks(small, mixture, temperature):
    """To the bit: a chunk's first input is the number that the loop had in hand."""
    model = small(("ann",), distribution=mixture, gate_channels=6 * kernels.LANES)
    options = {"speaker": "ann", "backend": "cpu", "temperature": temperature}
    whole = wavenet.generate(model, 0.2, num=3, threads=1, **options)
    for threads, chunk in ((1, 7), (2, 100), (8, 4000)):
        assert torch.equal(wavenet.generate(model, 0.2, num=3, threads=threads, chunk=chunk, **options), whole)
    assert torch.equal(wavenet.generate(model, 0.2, seed=1, **options), whole[1:2])


def test_a_prompt_between_the_levels_is_heard_as_it_is(small):
    model = small(distribution=GaussianMixture)
    prompt = torch.full((30,), 0.3 + 1e-5)
    made = wavenet.generate(model, 0.1, prompt=prompt, backend="cpu")
    heard = torch.cat([torch.zeros(1), prompt, made[0, :-1]])[None]
    again = model.distribution.sample(model(heard)[0][..., 30:], uniforms([0], 0, 200, 2))
    assert (made - again).abs().max() <= model.distribution.bin_width


def test_a_distribution_that_it_does_not_know_is_refused(small):
    class Mine(GaussianMixture):
        pass

    assert CPUBackend.refusal(small(distribution=Mine)) == "it does not know the output distribution Mine"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_threads_change_nothing(batch):
    """Also more threads than utterances, which share the layers, and more than there are panels."""
    model = WaveNet(MuLawCategorical(), 16000, gate_channels=18 * kernels.LANES, dilation_cycle=3, num_cycles=1).eval()
    one = wavenet.generate(model, 0.02, num=batch, backend="cpu", threads=1)
    for threads in (2, 3, 8, 12):
        assert torch.equal(wavenet.generate(model, 0.02, num=batch, backend="cpu", threads=threads), one)
    assert torch.equal(wavenet.generate(model, 0.02, num=batch, backend="cpu"), one)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"top_k": 3}, {"temperature": 0}, {"temperature": 1e-30}]
)
def test_options_of_drawing(small, options):
    model = small()
    made = [wavenet.generate(model, 0.3, num=2, backend=name, **options) for name in ("cpu", "reference")]
    assert torch.equal(*made)


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
    made = wavenet.generate(model, 0.02, num=batch, weights=weights)
    assert torch.equal(made, wavenet.generate(model, 0.02, num=batch, weights=weights, threads=3, chunk=17))


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
    assert sum(signature[0].dtype == types.float32 for signature in kernels.run.signatures) == 1


def test_what_is_compiled_is_kept_on_disk(tmp_path):
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


# ---- kernels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["float32", pytest.param("float16", marks=needs_float16), "bfloat16", "int8"])
def test_product(weights):
    """Whole panels of a matrix times rows, for every tile; other outputs are not touched."""
    generator = np.random.default_rng(0)
    kind = {"float32": np.float32, "float16": np.int16, "bfloat16": np.uint16, "int8": np.int8}[weights]
    for depth, panels, rows in combinations((1, 7, 128, 300), (1, 3, 5), (1, 2, 3, 4, 7, 8, 13, 19)):
        values = torch.from_numpy(generator.integers(-40, 40, (panels * kernels.PANEL, depth)).astype(np.float32))
        stored = values.reshape(panels, kernels.PANEL, depth).transpose(1, 2).contiguous().to(WEIGHTS[weights])
        packed = _aligned(stored.view(-1).numpy(force=True) if weights != "bfloat16" else _bits(stored), kind)
        scales = generator.random(panels * kernels.PANEL).astype(np.float32)
        x = generator.integers(-3, 4, (rows, depth)).astype(np.float32)
        out = np.ones((rows, panels * kernels.PANEL), np.float32)
        first, last = (0, panels) if rows % 2 else (panels // 2, panels)
        where = scales.ctypes.data, x.ctypes.data, 4 * depth, rows, out.ctypes.data, out.strides[0]
        kernels.product(packed, 0, depth, first, last, *where)
        expected = x @ values.numpy().T * (scales if weights == "int8" else 1)
        expected[:, : first * kernels.PANEL] = 0
        np.testing.assert_allclose(out, expected + 1, rtol=2e-6, atol=2e-3 if weights == "int8" else 0)


def test_exponential_and_gate():
    @njit
    def exponentials(x, y):
        for i in range(len(x)):
            y[i] = kernels.exponential(x[i])

    @njit
    def gates(x, y):
        for i in range(len(x)):
            kernels.gate(x[i].ctypes.data, y[i].ctypes.data)

    x = np.linspace(-87, 87, 200001).astype(np.float32)
    y = np.empty_like(x)
    exponentials(x, y)
    assert np.abs(y / np.exp(x.astype(np.float64)) - 1).max() < 2.5e-7

    generator = np.random.default_rng(0)
    scales = 10.0 ** generator.uniform(-6, 3, (20000, 1))  # from the straight part to the flat ends
    x = (generator.standard_normal((20000, kernels.PANEL)) * scales).astype(np.float32)
    y = np.empty((20000, kernels.LANES), np.float32)
    gates(x, y)
    filters, sigmoids = x[:, : kernels.LANES].astype(np.float64), x[:, kernels.LANES :].astype(np.float64)
    with np.errstate(over="ignore"):
        assert np.abs(y - np.tanh(filters) / (1 + np.exp(-sigmoids))).max() < 3e-7


@pytest.mark.parametrize("classes", [2, 15, 16, 100, 256])
def test_draw(classes):
    generator = np.random.default_rng(0)
    distribution = MuLawCategorical(classes, 1)
    levels = distribution.sample(torch.eye(classes).T[None] * 100, torch.full((1, 1, classes), 0.5))[0]
    for temperature, top_k in ((1.0, 0), (0.5, 0), (1.0, 1), (0.9, classes // 2), (1.0, classes), (0.0, 0)):
        logits = (generator.standard_normal((400, classes)) * 3).astype(np.float32)
        chances = generator.random(400).astype(np.float32)
        chances[:2] = 0, 1 - 2**-24
        room = np.empty(classes, np.float32)
        drawn = [
            kernels.draw(row.ctypes.data, classes, u, np.float32(temperature), top_k, room.ctypes.data)
            for row, u in zip(logits, chances, strict=True)
        ]
        parameters, numbers = torch.from_numpy(logits.T.copy())[None], torch.from_numpy(chances)[None, None]
        expected = distribution.sample(parameters, numbers, temperature, top_k or None)
        differs = levels[drawn] != expected[0]
        assert differs.sum() <= 2
        if differs.any():  # only where a uniform is within rounding of a boundary between two classes
            kept = parameters.double().topk(top_k or classes, dim=1).values[..., -1:, :]
            exact = (parameters.double() / temperature).masked_fill(parameters < kept, -torch.inf).softmax(dim=1)
            distance = (exact.cumsum(dim=1) - numbers).abs().amin(dim=1)[0]
            assert (distance[differs] < 1e-6).all()


def test_draw_among_equals():
    """Many equal logits, as an untrained model has: all classes of equal chance, and the first one of the best."""
    logits, room = np.zeros(64, np.float32), np.empty(64, np.float32)
    drawn = [
        kernels.draw(logits.ctypes.data, 64, np.float32((i + 0.5) / 64), np.float32(1), 0, room.ctypes.data)
        for i in range(64)
    ]
    assert drawn == list(range(64))
    assert kernels.draw(logits.ctypes.data, 64, np.float32(0.9), np.float32(0), 0, room.ctypes.data) == 0


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 1e-30, 0])
def test_draw_from_mixture(mixture, temperature):
    """The same levels as the reference's, of mild and of wild parameters; but for one step where rounding decides."""
    distribution = mixture()
    generator = torch.Generator().manual_seed(0)
    count = distribution.num_mixtures
    parameters = torch.randn(1, distribution.parameter_channels, 3000, generator=generator)
    parameters[:, -count:] -= 5
    parameters[..., 2000:] *= 10
    numbers = torch.rand(1, 2, 3000, generator=generator)
    numbers[..., 1:3] = torch.tensor([0, 1 - 2**-24])
    temperature = float(np.float32(temperature))  # as the kernel has it
    expected = distribution.sample(parameters, numbers, temperature)[0]
    variates = distribution.standard_variates(numbers[0, 1]).numpy()
    kind = kernels.LOGISTIC if isinstance(distribution, LogisticMixture) else kernels.GAUSSIAN
    settings, room = mixture_settings(distribution), np.empty(3 * count)
    drawn = [
        kernels.draw_from_mixture(
            kind, settings.ctypes.data, row.ctypes.data, u, v, np.float32(temperature), room.ctypes.data
        )
        for row, u, v in zip(parameters[0].T.contiguous().numpy(), numbers[0, 0].numpy(), variates, strict=True)
    ]
    assert expected.unique().numel() > 50
    difference = (distribution.levels()[drawn] - expected).abs() / distribution.bin_width
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 3


def test_what_is_not_a_number_stays_within_the_table():
    distribution, room = GaussianMixture(2), np.empty(6)
    settings = mixture_settings(distribution)
    for bad in (np.nan, np.inf, -np.inf):
        for temperature in (0, 1):
            row = np.full(6, bad, np.float32)
            where = settings.ctypes.data, row.ctypes.data, np.float32(0.5), np.float32(0), np.float32(temperature)
            assert 0 <= kernels.draw_from_mixture(kernels.GAUSSIAN, *where, room.ctypes.data) < 65536


def test_float16_on_a_processor_without_it(small, monkeypatch):
    monkeypatch.setattr(kernels, "HAS_FLOAT16", False)
    with pytest.raises(ValueError, match="weights=float16 needs a processor with F16C; bfloat16 and int8 work"):
        wavenet.generate(small(), 0.01, weights="float16")


def test_a_folder_that_cannot_be_written_to_costs_only_the_cache(monkeypatch):
    def refuses(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(kernels, "njit", refuses)
    assert kernels.jit(lambda x: x + 1)(1) == 2


def _bits(values: torch.Tensor) -> np.ndarray:
    return values.view(torch.uint16).view(-1).numpy()


def _aligned(values: np.ndarray, kind: type) -> np.ndarray:
    memory = np.zeros(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(kind)
    copy[:] = values.view(kind)
    return copy
