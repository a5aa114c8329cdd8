import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm, permutation_test

from gristmill.promotion.paired import holm, non_inferiority, score, score_interval, superiority, superiority_over_all


def answers(gains: int, losses: int, n: int) -> tuple[list[float], list[float]]:
    same = n - gains - losses
    return [1.0] * gains + [0.0] * losses + [1.0] * same, [0.0] * gains + [1.0] * losses + [1.0] * same


def test_superiority_is_the_share_of_coins_that_fall_so_well():
    after, before = answers(gains=9, losses=2, n=50)
    by_hand = sum(math.comb(11, heads) for heads in range(9, 12)) / 2**11
    found = superiority(after, before)
    assert found.p == pytest.approx(by_hand)
    assert found.estimate == pytest.approx(7 / 50)


def test_superiority_agrees_with_sign_flips_of_every_difference():
    after, before = answers(gains=7, losses=3, n=10)
    flips = permutation_test(
        (np.subtract(after, before),), np.mean, permutation_type="samples", alternative="greater", n_resamples=2**10
    )
    assert superiority(after, before).p == pytest.approx(flips.pvalue)


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (3, 3), (2, 5)])
def test_a_model_that_gains_no_more_than_it_loses_is_not_better(gains: int, losses: int):
    assert superiority(*answers(gains, losses, 40)).p >= 0.5


@pytest.mark.parametrize(("gains", "losses", "n"), [(12, 17, 200), (0, 1, 300), (5, 0, 100), (40, 30, 400)])
@pytest.mark.parametrize("difference", [-0.05, -0.02, 0.03])
def test_the_score_is_that_of_a_likelihood_maximized_by_search(gains: int, losses: int, n: int, difference: float):
    low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12

    def unlikely(lost: float) -> float:
        same = n - gains - losses
        return -(
            gains * math.log(lost + difference) + losses * math.log(lost) + same * math.log(1 - 2 * lost - difference)
        )

    lost = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x  # type: ignore
    z = (gains - losses - n * difference) / math.sqrt(n * (2 * lost + difference - difference**2))
    assert score(gains, losses, n, difference) == pytest.approx(z, rel=1e-4)


@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("gained", [0.0, 0.01, 0.1])
def test_non_inferiority_holds_its_level_over_all_outcomes_of_a_model_worse_by_the_margin(n: int, gained: float):
    margin, rejected = 0.02, 0.0
    lost = gained + margin
    for losses in range(int(n * lost + 8 * math.sqrt(n * lost)) + 2):
        chances = binom.pmf(losses, n, lost)
        gains = np.arange(int(n * gained + 8 * math.sqrt(n * gained)) + 2)
        of_gains = binom.pmf(gains, n - losses, gained / (1 - lost))
        p = np.array([norm.sf(score(int(each), losses, n, -margin)) for each in gains])
        rejected += chances * of_gains[p <= 0.025].sum()
    assert rejected <= 0.0256  # the worst of a grid of 63 true models of which these are six


def test_the_same_answers_are_not_inferior_only_where_there_are_enough():
    """With n the same answers P(no loss | worse by 2 points) is .98^n: below .025 from 183 items on."""
    assert non_inferiority(*answers(0, 0, 150), margin=0.02).p > 0.025
    assert non_inferiority(*answers(0, 0, 200), margin=0.02).p < 0.025


def test_the_interval_holds_what_the_score_does_not_reject():
    low, high = score_interval(30, 20, 300)
    assert score(30, 20, 300, low) == pytest.approx(norm.ppf(0.975))
    assert score(30, 20, 300, high) == pytest.approx(-norm.ppf(0.975))
    assert score_interval(0, 0, 200) == pytest.approx((-0.01885, 0.01885), abs=1e-4)
    assert score_interval(0, 200, 200)[0] == -1.0


def test_what_a_model_left_to_a_die_counts_against_the_challenger():
    assert superiority([0.5] * 20, [0.5] * 20).estimate == -1.0


def test_the_better_of_several_baselines_is_the_one_to_beat():
    rng = np.random.default_rng(0)
    right = (rng.random(300) < 0.5).astype(float)
    weak, strong = np.full(300, 0.25), right.copy()
    assert superiority_over_all(right, [weak, weak], seed=0).p < 0.001
    assert superiority_over_all(right, [weak, strong], seed=0).p == 1.0


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"only": 0.02}) == {"only": 0.02}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
