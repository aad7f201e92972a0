"""The building blocks of native loops, compared with plain arithmetic."""

from itertools import product as combinations

import numpy as np
import pytest
import torch
from numba import njit

import wavenet
from tests.generation.test_cpu import each_mixture, needs_float16
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.native import instructions
from wavenet.native.draw import GAUSSIAN, LOGISTIC, draw, draw_from_mixture
from wavenet.native.elementwise import exponential, gate
from wavenet.native.instructions import LANES, PANEL
from wavenet.native.packing import mixture_settings
from wavenet.native.rounding import WEIGHTS
from wavenet.native.tiles import product


@pytest.mark.parametrize("weights", ["float32", pytest.param("float16", marks=needs_float16), "bfloat16", "int8"])
def test_product(weights):
    """Whole panels of a matrix times rows, for every tile; other outputs are not touched."""
    generator = np.random.default_rng(0)
    kind = {"float32": np.float32, "float16": np.int16, "bfloat16": np.uint16, "int8": np.int8}[weights]
    for depth, panels, rows in combinations((1, 7, 128, 300), (1, 3, 5), (1, 2, 3, 4, 7, 8, 13, 19)):
        values = torch.from_numpy(generator.integers(-40, 40, (panels * PANEL, depth)).astype(np.float32))
        stored = values.reshape(panels, PANEL, depth).transpose(1, 2).contiguous().to(WEIGHTS[weights])
        packed = _aligned(stored.view(-1).numpy(force=True) if weights != "bfloat16" else _bits(stored), kind)
        scales = generator.random(panels * PANEL).astype(np.float32)
        x = generator.integers(-3, 4, (rows, depth)).astype(np.float32)
        out = np.ones((rows, panels * PANEL), np.float32)
        first, last = (0, panels) if rows % 2 else (panels // 2, panels)
        where = scales.ctypes.data, x.ctypes.data, 4 * depth, rows, out.ctypes.data, out.strides[0]
        product(packed, 0, depth, first, last, *where)
        expected = x @ values.numpy().T * (scales if weights == "int8" else 1)
        expected[:, : first * PANEL] = 0
        np.testing.assert_allclose(out, expected + 1, rtol=2e-6, atol=2e-3 if weights == "int8" else 0)


def test_exponential_and_gate():
    @njit
    def exponentials(x, y):
        for i in range(len(x)):
            y[i] = exponential(x[i])

    @njit
    def gates(x, y):
        for i in range(len(x)):
            gate(x[i].ctypes.data, y[i].ctypes.data)

    x = np.linspace(-87, 87, 200001).astype(np.float32)
    y = np.empty_like(x)
    exponentials(x, y)
    assert np.abs(y / np.exp(x.astype(np.float64)) - 1).max() < 2.5e-7

    generator = np.random.default_rng(0)
    scales = 10.0 ** generator.uniform(-6, 3, (20000, 1))  # from the linear part to the flat ends
    x = (generator.standard_normal((20000, PANEL)) * scales).astype(np.float32)
    y = np.empty((20000, LANES), np.float32)
    gates(x, y)
    filters, sigmoids = x[:, :LANES].astype(np.float64), x[:, LANES:].astype(np.float64)
    with np.errstate(over="ignore"):
        assert np.abs(y - np.tanh(filters) / (1 + np.exp(-sigmoids))).max() < 3e-7


@pytest.mark.parametrize("classes", [2, 15, 16, 100, 256])
def test_draw(classes):
    generator = np.random.default_rng(0)
    distribution = MuLawCategorical(classes, 1)
    levels = distribution.sample(torch.eye(classes).T[None] * 100, torch.full((1, 1, classes), 0.5))[0]
    for temperature, top_k in ((1.0, 0), (0.5, 0), (1.0, 1), (0.9, classes // 2), (1.0, classes), (0.0, 0)):
        logits = (generator.standard_normal((400, classes)) * 3).astype(np.float32)
        probabilities = generator.random(400).astype(np.float32)
        probabilities[:2] = 0, 1 - 2**-24
        room = np.empty(classes, np.float32)
        drawn = [
            draw(row.ctypes.data, classes, u, np.float32(temperature), top_k, room.ctypes.data)
            for row, u in zip(logits, probabilities, strict=True)
        ]
        parameters, numbers = torch.from_numpy(logits.T.copy())[None], torch.from_numpy(probabilities)[None, None]
        expected = distribution.sample(parameters, numbers, temperature, top_k or None)
        differs = levels[drawn] != expected[0]
        assert differs.sum() <= 2
        if differs.any():  # only where a uniform is within rounding of a boundary between two classes
            kept = parameters.double().topk(top_k or classes, dim=1).values[..., -1:, :]
            exact = (parameters.double() / temperature).masked_fill(parameters < kept, -torch.inf).softmax(dim=1)
            distance = (exact.cumsum(dim=1) - numbers).abs().amin(dim=1)[0]
            assert (distance[differs] < 1e-6).all()


def test_draw_among_equals():
    """Many equal logits, as of an untrained model: all classes are equally likely, and the mode is the first."""
    logits, room = np.zeros(64, np.float32), np.empty(64, np.float32)
    drawn = [
        draw(logits.ctypes.data, 64, np.float32((i + 0.5) / 64), np.float32(1), 0, room.ctypes.data) for i in range(64)
    ]
    assert drawn == list(range(64))
    assert draw(logits.ctypes.data, 64, np.float32(0.9), np.float32(0), 0, room.ctypes.data) == 0


@each_mixture
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 1e-30, 0])
def test_draw_from_mixture(mixture, temperature):
    """The same levels as the reference's, also for extreme parameters, except one step where rounding decides."""
    distribution = mixture()
    generator = torch.Generator().manual_seed(0)
    count = distribution.num_mixtures
    parameters = torch.randn(1, distribution.parameter_channels, 3000, generator=generator)
    parameters[:, -count:] -= 5
    parameters[..., 2000:] *= 10
    numbers = torch.rand(1, 2, 3000, generator=generator)
    numbers[..., 1:3] = torch.tensor([0, 1 - 2**-24])
    temperature = float(np.float32(temperature))  # as in the kernel
    expected = distribution.sample(parameters, numbers, temperature)[0]
    variates = distribution.standard_variates(numbers[0, 1]).numpy()
    kind = LOGISTIC if isinstance(distribution, LogisticMixture) else GAUSSIAN
    settings, room = mixture_settings(distribution), np.empty(3 * count)
    drawn = [
        draw_from_mixture(kind, settings.ctypes.data, row.ctypes.data, u, v, np.float32(temperature), room.ctypes.data)
        for row, u, v in zip(parameters[0].T.contiguous().numpy(), numbers[0, 0].numpy(), variates, strict=True)
    ]
    assert expected.unique().numel() > 50
    difference = (distribution.levels()[drawn] - expected).abs() / distribution.bin_width
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 3


def test_nan_gives_an_index_within_the_table():
    distribution, room = GaussianMixture(2), np.empty(6)
    settings = mixture_settings(distribution)
    for bad in (np.nan, np.inf, -np.inf):
        for temperature in (0, 1):
            row = np.full(6, bad, np.float32)
            where = settings.ctypes.data, row.ctypes.data, np.float32(0.5), np.float32(0), np.float32(temperature)
            assert 0 <= draw_from_mixture(GAUSSIAN, *where, room.ctypes.data) < 65536


def test_float16_on_a_processor_without_it(small, monkeypatch):
    monkeypatch.setattr(instructions, "HAS_FLOAT16", False)
    with pytest.raises(ValueError, match="weights=float16 needs a processor with F16C; bfloat16 and int8 work"):
        wavenet.generate(small(), 0.01, weights="float16")


def _bits(values: torch.Tensor) -> np.ndarray:
    return values.view(torch.uint16).view(-1).numpy()


def _aligned(values: np.ndarray, kind: type) -> np.ndarray:
    memory = np.zeros(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(kind)
    copy[:] = values.view(kind)
    return copy
