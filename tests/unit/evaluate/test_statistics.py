import math

import numpy as np
import pytest

from gristmill.evaluate.statistics import mean_interval, paired_difference, per_token, ratio_interval


def test_the_interval_of_many_normal_values_is_the_textbooks():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(1000)
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_pairing_removes_what_items_have_in_common():
    difficulty = np.random.default_rng(1).normal(0, 10, 200)
    paired = paired_difference(difficulty + 1, difficulty)
    assert [paired.low, paired.high] == pytest.approx([1, 1])
    assert mean_interval(difficulty + 1).low < mean_interval(difficulty).high


def test_equal_values_give_an_interval_without_width_and_nan_gives_nan():
    assert mean_interval([1, 1, 1]).metrics("x") == {"x": 1.0, "x_ci_low": 1.0, "x_ci_high": 1.0}
    assert math.isnan(mean_interval([1.0, math.nan]).low)


def test_one_item_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 items, found 1"):
        mean_interval([1.0])


def test_the_interval_of_a_ratio_is_the_delta_methods():
    """Of long and short documents at about 2 bits a byte: what differs in length alone adds no width."""
    drawn = np.random.default_rng(2)
    sizes = drawn.lognormal(6, 1.5, 400)
    bits = sizes * drawn.normal(2.0, 0.3, 400)
    ratio = bits.sum() / sizes.sum()
    half = 1.96 * math.sqrt(((bits - ratio * sizes) ** 2).sum()) / sizes.sum()
    interval = ratio_interval(bits, sizes)
    assert interval.mean == pytest.approx(ratio)
    assert [interval.low, interval.high] == pytest.approx([ratio - half, ratio + half], abs=0.02)
    with_lengths = mean_interval(bits * 400 / sizes.sum())
    assert with_lengths.high - with_lengths.low > 4 * (interval.high - interval.low)


def test_one_ratio_everywhere_has_no_width_and_nan_gives_nan():
    assert ratio_interval([2.0, 6.0], [1, 3]).metrics("x") == {"x": 2.0, "x_ci_low": 2.0, "x_ci_high": 2.0}
    assert math.isnan(ratio_interval([2.0, math.nan], [1, 3]).high)
    with pytest.raises(ValueError, match="at least 2 items, found 1"):
        ratio_interval([1.0], [1])


def test_rows_are_weighted_by_their_tokens():
    assert per_token([10.0, 2.0], [5, 1]).mean() == pytest.approx(12 / 6)
