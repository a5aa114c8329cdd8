"""Differences in bits per byte with intervals: by hand, and by simulation."""

import numpy as np
import pytest

from gristmill.ablation.comparison import paired_difference

T_1 = 12.706204736432095  # 97.5 % of the t distribution with 1 and 3 degrees of freedom, from a printed table
T_3 = 3.182446305284263


def test_documents_that_agree_leave_the_variance_of_the_seeds():
    sizes = np.array([100.0, 300.0])
    baseline = np.zeros((2, 2))
    recipe = np.array([[-10.0, -30.0], [-30.0, -90.0]])  # -.1 and -.3 bits a byte in each document
    found = paired_difference(recipe, baseline, sizes, confidence=0.95)
    assert found.mean == pytest.approx(-0.2)
    assert found.degrees_of_freedom == pytest.approx(1)
    # the standard deviation of -.1 and -.3 is .1·√2, over √2 seeds
    assert (found.high - found.low) / 2 == pytest.approx(0.1 * T_1)
    assert found.verdict == "no difference shown"


def test_seeds_that_agree_leave_the_variance_of_the_documents():
    sizes = np.full(4, 100.0)
    recipe = np.tile([-10.0, -20.0, -30.0, -40.0], (3, 1))
    found = paired_difference(recipe, np.zeros((3, 4)), sizes, confidence=0.95)
    assert found.mean == pytest.approx(-0.25)
    assert found.degrees_of_freedom == pytest.approx(3)
    deviation = np.sqrt((0.15**2 + 0.05**2) * 2 / 3)
    assert (found.high - found.low) / 2 == pytest.approx(T_3 * deviation / 2)
    assert found.verdict == "better"


def test_long_documents_count_by_their_bytes():
    found = paired_difference(
        np.array([[100.0, 0.0], [100.0, 0.0]]), np.zeros((2, 2)), np.array([900.0, 100.0]), confidence=0.95
    )
    assert found.mean == pytest.approx(0.1)


def test_the_interval_holds_the_truth_when_seeds_and_documents_vary():
    rng = np.random.default_rng(0)
    truth, held, width = -0.02, 0, []
    for _ in range(400):
        sizes = rng.uniform(500, 3000, 40)
        per_byte = truth + rng.normal(0, 0.01, (3, 1)) + rng.normal(0, 0.05, (1, 40)) + rng.normal(0, 0.02, (3, 40))
        found = paired_difference(per_byte * sizes, np.zeros((3, 40)), sizes, confidence=0.95)
        held += found.low <= truth <= found.high
        width.append(found.high - found.low)
    # 400 tries at .95 miss at most 31 in 99 of 100 runs; fewer misses are allowed, the interval is a little too wide
    assert held >= 400 - 31
    assert np.median(width) < 0.12


def test_one_seed_or_one_document_gives_no_interval():
    with pytest.raises(ValueError, match="at least 2 of each"):
        paired_difference(np.zeros((1, 5)), np.zeros((1, 5)), np.ones(5), confidence=0.95)
