import pytest
import torch

from tests.contract import verify_streaming
from wavenet.nn import Condition, GatedResidualLayer, ResidualStack, cycle_of_dilations, receptive_field


@pytest.mark.parametrize(
    ("kernel_size", "layers", "cycles", "expected"),
    [(3, 30, 3, 6139), (3, 24, 4, 505), (3, 12, 2, 253), (2, 30, 3, 3070)],
)
def test_receptive_field_of_known_stacks(kernel_size, layers, cycles, expected):
    dilations = cycle_of_dilations(layers // cycles, cycles)
    assert len(dilations) == layers
    assert receptive_field(kernel_size, dilations) == expected
    assert ResidualStack(2, 2, 2, kernel_size, dilations).receptive_field == expected


@pytest.mark.parametrize(("kernel_size", "dilations"), [(2, [1, 2, 4, 1, 2]), (3, [1, 3, 9]), (2, [1])])
def test_gradient_sees_just_the_receptive_field(kernel_size, dilations):
    stack = ResidualStack(3, 4, 5, kernel_size, dilations).double()
    x = torch.randn(1, 3, 60, dtype=torch.float64, requires_grad=True)
    stack(x)[0][..., 50].sum().backward()
    seen = x.grad.abs().sum(dim=1).flatten().nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (50 - stack.receptive_field + 1, 50)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("residual", [True, False])
def test_layer_whole_equals_chunks_equals_steps(residual, dtype):
    layer = GatedResidualLayer(4, 6, 5, 3, 2, residual=residual).to(dtype)
    x = torch.randn(2, 4, 33, dtype=dtype)
    for output in (0, 1):

        def step(piece, state, output=output):
            results = layer(piece, None, state)
            return results[output], results[2]

        if output == 1 or residual:
            verify_streaming(step, x, layer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_stack_whole_equals_chunks_equals_steps(kernel_size, dtype):
    stack = ResidualStack(4, 6, 5, kernel_size, [1, 2, 4], condition_channels=3).to(dtype)
    condition = Condition(torch.randn(2, 3, 1, dtype=dtype))
    verify_streaming(lambda x, state: stack(x, condition, state), torch.randn(2, 4, 37, dtype=dtype), stack)


def test_stack_with_a_condition_that_changes_with_time():
    stack = ResidualStack(4, 6, 5, 2, [1, 2, 4], condition_channels=3).double()
    joined = torch.randn(2, 4 + 3, 29, dtype=torch.float64)
    verify_streaming(lambda piece, state: stack(piece[:, :4], Condition(piece[:, 4:], 1), state), joined, stack)


def test_layer_is_the_papers_equation():
    layer = GatedResidualLayer(2, 6, 4, 2, 1, condition_channels=3).double()
    x, h = torch.randn(1, 2, 9, dtype=torch.float64), torch.randn(1, 3, 9, dtype=torch.float64)
    w, b = layer.dilated.conv.weight, layer.dilated.conv.bias
    v = layer.condition.weight[..., 0]
    now, before = x[0], torch.nn.functional.pad(x[0], (1, 0))[:, :-1]
    hidden = w[..., 0] @ before + w[..., 1] @ now + b[:, None] + v @ h[0]
    z = torch.tanh(hidden[:3]) * torch.sigmoid(hidden[3:])
    residual, gated, _ = layer(x, Condition(h, 1))
    torch.testing.assert_close(residual[0], x[0] + layer.residual.weight[..., 0] @ z + layer.residual.bias[:, None])
    torch.testing.assert_close(gated[0], z)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_stack_is_the_sum_of_all_skips(length, bias):
    stack = ResidualStack(4, 6, 5, 2, [1, 2, 4], bias=bias).double()
    x = first = torch.randn(2, 4, length, dtype=torch.float64)
    total = 0
    for layer in stack.layers:
        x, gated, _ = layer(x)
        total = total + torch.nn.functional.conv1d(gated, layer.skip.weight, layer.skip.bias)
    torch.testing.assert_close(stack(first)[0], total)


def test_gradient_checkpointing_changes_nothing():
    stack = ResidualStack(4, 6, 5, 2, [1, 2, 4]).double().train()
    x = torch.randn(2, 4, 20, dtype=torch.float64)
    gradients = []
    for on in (False, True):
        stack.zero_grad()
        stack.gradient_checkpointing = on
        stack(x)[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in stack.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(stack.parameters()))  # none unused: data-parallel training needs that
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="gate_channels is 7; it must be an even number"):
        GatedResidualLayer(2, 7, 2, 2, 1)
    with pytest.raises(ValueError, match="residual_channels is 0"):
        ResidualStack(0, 2, 2, 2, [1])
    with pytest.raises(ValueError, match="dilations is .*; it must be a list of 1 to 500"):
        ResidualStack(2, 2, 2, 2, [])
    with pytest.raises(ValueError, match="num_cycles is 0"):
        cycle_of_dilations(3, 0)
    with pytest.raises(ValueError, match="condition_channels is -1"):
        GatedResidualLayer(2, 2, 2, 2, 1, condition_channels=-1)
    with pytest.raises(ValueError, match="no condition was given, but the layer was built for one"):
        GatedResidualLayer(2, 2, 2, 2, 1, condition_channels=3)(torch.randn(1, 2, 5))
    with pytest.raises(ValueError, match="a condition was given, but the layer was built for none"):
        GatedResidualLayer(2, 2, 2, 2, 1)(torch.randn(1, 2, 5), Condition(torch.randn(1, 3, 1)))
