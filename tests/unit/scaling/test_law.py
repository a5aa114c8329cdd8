"""Fitting a scaling law: planted laws are found again, and the best choice is the one that a search finds."""

import numpy as np
import pytest

from gristmill.scaling.law import Law, bootstrap_laws, fit_law

PLANTED = Law(E=1.2, A=15.0, alpha=0.28, B=60.0, beta=0.38)
SIZES = np.repeat([19e3, 57e3, 132e3, 260e3, 470e3], 3)
TOKENS = SIZES * np.tile([1.25, 2.5, 5.0], 5)


def test_a_planted_law_without_noise_is_found_exactly():
    found = fit_law(SIZES, TOKENS, PLANTED.bits(SIZES, TOKENS))
    for name in ("E", "A", "alpha", "B", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(PLANTED, name), rel=1e-4)


def test_one_broken_rung_moves_the_prediction_little():
    bits = PLANTED.bits(SIZES, TOKENS)
    bits[7] *= 1.2
    found = fit_law(SIZES, TOKENS, bits)
    assert float(found.bits(760e3, 1.9e6)) == pytest.approx(float(PLANTED.bits(760e3, 1.9e6)), rel=0.01)


def test_intervals_of_a_prediction_hold_the_truth_about_as_often_as_they_say():
    truth = float(PLANTED.bits(760e3, 1.9e6))
    held = []
    for seed in range(24):
        noise = np.random.default_rng(seed).normal(0, 0.004, len(SIZES))
        laws, _ = bootstrap_laws(SIZES, TOKENS, PLANTED.bits(SIZES, TOKENS) * np.exp(noise), resamples=50, seed=seed)
        low, high = np.percentile([float(law.bits(760e3, 1.9e6)) for law in laws], [2.5, 97.5])
        assert 0.001 < (high - low) / truth < 0.04
        held.append(low <= truth <= high)
    # nominal .95; a fifth misses the truth with probability .01 when the real coverage is .93 (binomial)
    assert np.mean(held) >= 0.8


def test_the_bootstrap_is_the_same_for_the_same_seed():
    bits = PLANTED.bits(SIZES, TOKENS) * np.exp(np.random.default_rng(1).normal(0, 0.004, len(SIZES)))
    first, second, third = (bootstrap_laws(SIZES, TOKENS, bits, resamples=3, seed=seed)[0] for seed in (5, 5, 6))
    assert first == second != third


@pytest.mark.parametrize("flops", [1e12, 1e15, 1e20])
def test_the_optimum_is_the_one_that_a_search_finds(flops: float):
    candidates = np.geomspace(1e2, 1e13, 200_001)
    searched = candidates[np.argmin(PLANTED.bits(candidates, flops / 6 / candidates))]
    parameters, tokens = PLANTED.optimum(flops)
    assert parameters == pytest.approx(searched, rel=3e-4)
    assert 6 * parameters * tokens == pytest.approx(flops)


def test_too_few_rungs_or_bits_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="as many rungs"):
        fit_law([1e3] * 4, [1e4] * 4, [2.0] * 4)
    with pytest.raises(ValueError, match="finite"):
        fit_law(SIZES, TOKENS, [float("nan")] * len(SIZES))
