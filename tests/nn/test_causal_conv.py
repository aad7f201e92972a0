import numpy as np
import pytest
import torch

from tests.contract import verify_streaming
from wavenet.nn import CausalConv1d
from wavenet.nn.causal_conv import convolve, shifted_product, single_product


def with_kernel(taps, in_channels=1, dilation=1):
    conv = CausalConv1d(in_channels, 1, len(taps), dilation, bias=False)
    with torch.no_grad():
        conv.conv.weight.copy_(torch.tensor(taps, dtype=torch.float32).expand(1, in_channels, -1))
    return conv


def test_taps_are_in_time_order():
    y, _ = with_kernel([1, 2])(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
    assert y.flatten().tolist() == [2, 5, 8, 11]


def test_dilated_kernel_equals_numpys_valid_convolution():
    x = np.arange(1, 21)
    y, _ = with_kernel([1, 1], dilation=4)(torch.from_numpy(x).float().reshape(1, 1, -1))
    valid = np.convolve(x, [1, 0, 0, 0, 1], mode="valid")
    assert len(valid) == 16
    assert y.flatten()[4:].tolist() == valid.tolist()
    assert y.flatten()[:4].tolist() == [1, 2, 3, 4]  # only zeros came before


def test_all_ones_kernel_over_two_channels():
    x = torch.arange(1.0, 33.0).reshape(1, 2, 16)
    y, _ = with_kernel([1, 1], in_channels=2)(x)
    assert y.flatten().tolist() == [18.0, *range(38, 95, 4)]


def test_the_docstrings_shapes():
    x = torch.randn(32, 35, 256).permute(0, 2, 1)
    assert x.shape == (32, 256, 35)
    assert torch.nn.Conv1d(256, 100, kernel_size=2)(x).shape == (32, 100, 34)
    y, state = CausalConv1d(256, 100, kernel_size=2)(x)
    assert y.shape == (32, 100, 35)
    assert state.shape == (32, 256, 1)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_the_future_never_leaks(kernel_size, dilation):
    conv = CausalConv1d(3, 4, kernel_size, dilation)
    x = torch.randn(2, 3, 40)
    changed = x.clone()
    changed[..., 16:] = torch.randn(2, 3, 24)
    a, b = conv(x)[0], conv(changed)[0]
    assert torch.equal(a[..., :16], b[..., :16])
    assert not torch.equal(a[..., 16:], b[..., 16:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kernel_size", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (2, 8, 1), (3, 4, 1), (3, 2, 2)])
def test_whole_equals_chunks_equals_steps(kernel_size, dilation, groups, dtype):
    conv = CausalConv1d(4, 6, kernel_size, dilation, groups).to(dtype)
    verify_streaming(conv, torch.randn(2, 4, 41, dtype=dtype), conv)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel_size", "dilation", "length"), [(1, 1, 9), (2, 1, 9), (2, 8, 20), (3, 4, 25), (3, 4, 9)]
)
def test_every_form_of_the_convolution_is_the_same(kernel_size, dilation, length, bias):
    """In outputs and gradients; the last shape is exactly one window."""
    x = torch.randn(2, 4, length, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 4, kernel_size, dtype=torch.float64, requires_grad=True)
    inputs = (x, weight, torch.randn(6, dtype=torch.float64, requires_grad=True) if bias else None)
    expected = torch.nn.functional.conv1d(*inputs, dilation=dilation)
    one_window = expected.shape[-1] == 1
    direction = torch.randn_like(expected)
    for form in (convolve, shifted_product, *([single_product] if one_window else [])):
        y = form(*inputs, dilation)
        torch.testing.assert_close(y, expected)
        for gradient, expected_gradient in zip(
            torch.autograd.grad(y, [i for i in inputs if i is not None], direction),
            torch.autograd.grad(expected, [i for i in inputs if i is not None], direction, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(gradient, expected_gradient)


def test_state_is_the_last_inputs():
    x = torch.randn(1, 3, 10)
    _, state = CausalConv1d(3, 3, kernel_size=3, dilation=2)(x)
    assert torch.equal(state, x[..., -4:])
    _, state = CausalConv1d(3, 3, kernel_size=3, dilation=2)(x[..., :1])
    assert torch.equal(state, torch.cat([torch.zeros(1, 3, 3), x[..., :1]], dim=-1))


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "kernel_size", "dilation", "groups"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_wrong_numbers_are_named(name, value):
    arguments = {"in_channels": 2, "out_channels": 2, "kernel_size": 2, name: value}
    with pytest.raises(ValueError, match=rf"CausalConv1d: {name} is .*at least 1"):
        CausalConv1d(**arguments)


def test_wrong_groups_shapes_and_states_are_named():
    with pytest.raises(ValueError, match="in_channels is 3; it must be a multiple of groups=2"):
        CausalConv1d(3, 4, 2, groups=2)
    conv = CausalConv1d(256, 4, 2)
    with pytest.raises(ValueError, match=r"x is \(32, 35, 256\); it must be \(B, 256, T\).*permute"):
        conv(torch.randn(32, 35, 256))
    with pytest.raises(ValueError, match=r"state is \(1, 256, 3\); for this x it must be \(1, 256, 1\)"):
        conv(torch.randn(1, 256, 5), torch.randn(1, 256, 3))
