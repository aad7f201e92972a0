import math

import numpy as np
import pytest
from scipy import stats

from wavenet.evaluation.interval import ratio_interval


def test_an_interval_by_hand():
    """30 / 10 = 3; without one of the utterances 26 / 9, 20 / 6 and 14 / 5."""
    spread = (26 / 9 - 3) ** 2 + (20 / 6 - 3) ** 2 + (14 / 5 - 3) ** 2
    half = 4.302652729696 * math.sqrt(2 / 3 * spread)
    assert ratio_interval([4, 10, 16], [1, 4, 5], 0.95) == pytest.approx((3 - half, 3 + half))


def test_with_equal_sizes_it_is_the_interval_of_a_mean():
    values = [0.3, 1.7, 2.0, -1.0, 0.4]
    expected = stats.t.interval(0.9, 4, np.mean(values), stats.sem(values))
    assert ratio_interval(values, [1] * 5, 0.9) == pytest.approx(expected)
    assert ratio_interval([7 * v for v in values], [7] * 5, 0.9) == pytest.approx(expected)


@pytest.mark.parametrize("count", [6, 24])
def test_an_interval_has_its_coverage(count):
    """Utterances of different lengths and levels, drawn 4000 times, within 1.5 %."""
    generator = np.random.default_rng(0)
    sizes = generator.lognormal(10, 0.5, (4000, count))
    sums = sizes * (4 + generator.normal(0, 0.5, (4000, count)))
    covered = [
        low <= 4 <= high for low, high in (ratio_interval(list(a), list(b)) for a, b in zip(sums, sizes, strict=True))
    ]
    assert 0.935 <= np.mean(covered) <= 0.965


def test_one_utterance_has_no_interval():
    assert ratio_interval([3.0], [1]) is None
    assert ratio_interval([], []) is None
    low, high = ratio_interval([3.0, 6.0], [1, 2])
    assert low == high == 3 and math.isfinite(low)
