import pytest
import torch

from tests.contract import verify_streaming
from wavenet.nn import ContextStack


def stack(dtype=torch.float32, **numbers):
    sizes = {"pool": 4, "residual_channels": 5, "gate_channels": 6, "skip_channels": 7, "dilation_cycle": 3} | numbers
    return ContextStack(3, **sizes).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pool", [1, 4, 9])
def test_whole_equals_chunks_equals_steps(pool, dtype):
    context = stack(dtype, pool=pool)

    def step(piece, state):
        condition, state = context(piece, state)
        return condition.upsampled(piece.shape[1]).expand(-1, -1, piece.shape[1]), state

    verify_streaming(step, torch.rand(2, 45, dtype=dtype) * 2 - 1, context)


@pytest.mark.parametrize("pool", [1, 4, 9])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_gradient_sees_just_the_receptive_field(pool, kernel_size):
    context = stack(torch.float64, pool=pool, kernel_size=kernel_size)
    length = 3 * context.receptive_field
    farthest, nearest = 0, -length
    for t in range(length - 2 * pool, length):  # the receptive field is longest at a frame's last sample
        waveform = (torch.rand(1, length, dtype=torch.float64) - 0.5).requires_grad_()
        context(waveform)[0].upsampled(length)[..., t].sum().backward()
        seen = waveform.grad[0].nonzero().flatten()
        farthest, nearest = max(farthest, t - seen.min().item() + 1), max(nearest, seen.max().item() - t)
    assert farthest == context.receptive_field
    assert nearest == -1


def test_utterances_at_different_positions_in_a_frame():
    context = stack(torch.float64)
    x = torch.rand(2, 30, dtype=torch.float64) - 0.5
    states = [context(x[k : k + 1, :begin])[1] for k, begin in ((0, 5), (1, 7))]
    both = [torch.cat(parts) for parts in zip(*states, strict=True)]
    pieces = torch.stack([x[0, 5:25], x[1, 7:27]])
    condition, after = context(pieces, both)
    for k, state in enumerate(states):
        alone, alone_after = context(pieces[k : k + 1], state)
        torch.testing.assert_close(condition.upsampled(20)[k], alone.upsampled(20)[0])
        for one, other in zip(after, alone_after, strict=True):
            torch.testing.assert_close(one[k], other[0])


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="pool is 0"):
        stack(pool=0)
