import math

import numpy as np
import pytest

from gristmill.evaluate.statistics import mean_interval, paired_difference, per_token


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


def test_rows_are_weighted_by_their_tokens():
    assert per_token([10.0, 2.0], [5, 1]).mean() == pytest.approx(12 / 6)
