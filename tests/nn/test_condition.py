import math

import pytest
import torch

from wavenet.nn import Condition, PointwiseConv1d, Upsampling, batch_conditions


def values(length, batch=2, channels=3):
    return torch.randn(batch, channels, length, dtype=torch.float64)


def at(condition, t):
    """Return the values at sample t by the definition."""
    return condition.values[..., 0 if condition.hop_length is None else (condition.offset + t) // condition.hop_length]


@pytest.mark.parametrize(("hop", "offset"), [(1, 0), (4, 0), (4, 3), (5, 2), (None, 0)])
def test_upsampled_values_match_the_definition(hop, offset):
    condition = Condition(values(6 if hop else 1), hop, offset)
    length = 6 * hop - offset if hop else 17
    assert condition.num_samples == (length if hop else math.inf)
    upsampled = condition.upsampled(length).expand(-1, -1, length)
    for t in range(length):
        assert torch.equal(upsampled[..., t], at(condition, t))


@pytest.mark.parametrize(("hop", "offset"), [(1, 0), (4, 0), (4, 3), (5, 2)])
def test_a_piece_is_the_same_samples(hop, offset):
    condition = Condition(values(6), hop, offset)
    whole = condition.upsampled(6 * hop - offset)
    for start in range(whole.shape[-1]):
        assert torch.equal(condition.from_sample(start).upsampled(1)[..., 0], whole[..., start])
        for length in range(1, whole.shape[-1] - start + 1):
            piece = condition.slice(start, length)
            assert torch.equal(piece.upsampled(length).expand(-1, -1, length), whole[..., start : start + length])
            assert piece.values.shape[-1] <= (length - 2) // hop + 2  # no more than it needs


@pytest.mark.parametrize("one", [(None, 0), (1, 0), (4, 3), (6, 1)])
@pytest.mark.parametrize("other", [(None, 0), (1, 0), (4, 3), (6, 5), (4, 0)])
def test_the_sum_is_that_of_the_samples(one, other):
    a, b = (Condition(values(8 if hop else 1), hop, offset) for hop, offset in (one, other))
    total, length = a + b, min(a.num_samples, b.num_samples)
    assert total.num_samples >= length - 5  # less than one value is cut off
    length = int(min(total.num_samples, length, 30))
    torch.testing.assert_close(
        total.upsampled(length).expand(-1, -1, length),
        a.upsampled(length).expand(-1, -1, length) + b.upsampled(length).expand(-1, -1, length),
    )


def test_utterances_at_different_positions_are_joined():
    a, b = Condition(values(6, 1), 4, 1), Condition(values(6, 1), 4, 3)
    for parts in ((a, b), (a, a), (Condition(values(1, 1)), Condition(values(1, 1)))):
        joined = batch_conditions(list(parts), 9).upsampled(9).expand(-1, -1, 9)
        for k, part in enumerate(parts):
            assert torch.equal(joined[k], part.upsampled(9).expand(-1, -1, 9)[0])
    assert batch_conditions([a, a], 9).hop_length == 4


def test_too_few_values_are_named():
    condition = Condition(values(5), 4, 1)
    for call in (lambda: condition.upsampled(20), lambda: condition.slice(10, 10)):
        with pytest.raises(ValueError, match="the conditions cover 19 samples; "):
            call()
    with pytest.raises(ValueError, match="cover 19 samples; more were requested"):
        condition.from_sample(19)


def test_projecting_before_repeating_is_the_same():
    """To the bit, because every sample's sum has the same terms in the same order."""
    project, condition = PointwiseConv1d(3, 8).double(), Condition(values(20), 16, 5)
    before = condition.upsample(project(condition.values), 300)
    torch.testing.assert_close(before, project(condition.upsampled(300)), rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["nearest", "transposed"])
def test_projecting_before_upsampling_is_the_same(kind):
    """Filters that treat every channel alike give the same before and after a change of channels."""
    upsample, project = Upsampling([3, 4], 5, kind).double(), PointwiseConv1d(3, 8, bias=False).double()
    for taps in upsample.filters:
        torch.nn.init.normal_(taps)
    x = values(9)
    torch.testing.assert_close(upsample(project(x)), project(upsample(x)))
    over_bands = Upsampling([3, 4], 5, kind, freq_kernel_size=3).double()
    for taps in over_bands.filters:
        torch.nn.init.normal_(taps)
    square = PointwiseConv1d(3, 3, bias=False).double()
    assert not torch.allclose(over_bands(square(x)), square(over_bands(x)))


@pytest.mark.parametrize("kind", ["nearest", "transposed"])
@pytest.mark.parametrize("scales", [[1], [2], [3], [4, 4], [5, 2, 3]])
@pytest.mark.parametrize("hold", [1, 4])
def test_upsampling_is_aligned_and_keeps_the_mean(kind, scales, hold):
    """An impulse in frame f has its centre in the middle of the frame's samples; a constant stays constant."""
    hop = math.prod(scales) * hold
    upsample = Upsampling(scales, hold, kind)
    frames = torch.zeros(1, 2, 9)
    frames[:, 1, 4] = 1
    upsampled = Condition(upsample(frames), hold).upsampled(9 * hop)[0]
    assert upsampled[0].abs().max() == 0
    times = torch.arange(9 * hop)
    assert upsampled[1].sum().item() == pytest.approx(hop, rel=1e-5)
    assert (upsampled[1] * times).sum().item() / hop == pytest.approx(4 * hop + (hop - 1) / 2, rel=1e-5)
    beyond = upsample.margin * hop
    assert upsampled[1, : 4 * hop - beyond].abs().max() == 0
    assert upsampled[1, 5 * hop + beyond :].abs().max() == 0
    steady = upsample(torch.ones(1, 2, 9))[..., beyond // hold : (9 * hop - beyond) // hold]
    torch.testing.assert_close(steady, torch.ones_like(steady))


def test_the_product_of_the_scales_is_the_hop():
    assert Upsampling([4, 4], 2).hop_length == 32
    with pytest.raises(ValueError, match="kind is 'cubic'; it must be nearest or transposed"):
        Upsampling([4, 4], kind="cubic")
    with pytest.raises(ValueError, match="freq_kernel_size is 2; it must be an odd number from 1"):
        Upsampling([4, 4], freq_kernel_size=2)
    with pytest.raises(ValueError, match="activation is 'tanh'; it must be none or relu"):
        Upsampling([4, 4], activation="tanh")
    with pytest.raises(ValueError, match=r"scales is \[0, 4\]"):
        Upsampling([0, 4])
