"""Is one model better than another, or not much worse, on the same items? One-sided tests that hold their level.

Superiority: the exact test of McNemar (1947), which is the exact sign-flip test of differences that are −1, 0 or 1.
Non-inferiority: the score test of Tango (1998, Statistics in Medicine 17:891), whose interval is given for both. A
bootstrap or a t-test would not do: two models that differ on few items have a variance that is guessed far too small.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gristmill.evaluate.statistics import CONFIDENCE, paired_difference

FLIPS = 9999


@dataclass(frozen=True)
class Comparison:
    """A difference in accuracy with its 95 % interval, over n items, and the one-sided p of what was tested."""

    estimate: float
    low: float
    high: float
    n: int
    p: float


def superiority(after: ArrayLike, before: ArrayLike) -> Comparison:
    """Test that `after` is right on more items than `before` (null: not on more). [n] each, chances of being right."""
    from scipy.stats import binomtest

    gains, losses, n = gains_and_losses(after, before)
    p = float(binomtest(gains, gains + losses, alternative="greater").pvalue) if gains + losses else 1.0
    return Comparison((gains - losses) / n, *score_interval(gains, losses, n), n, p)


def non_inferiority(after: ArrayLike, before: ArrayLike, *, margin: float) -> Comparison:
    """Test that the accuracy of `after` is above that of `before` − margin (null: it is not). [n] each."""
    from scipy.stats import norm

    gains, losses, n = gains_and_losses(after, before)
    p = float(norm.sf(score(gains, losses, n, -margin)))
    return Comparison((gains - losses) / n, *score_interval(gains, losses, n), n, p)


def superiority_over_all(after: ArrayLike, baselines: Sequence[ArrayLike], *, seed: int) -> Comparison:
    """Test that `after` has a higher mean than each of several others (null: not than one of them). [n] each.

    p is the largest of theirs, so nothing is gained by choosing (Berger 1982); estimate and interval (bootstrap) are
    of the best of the others. Each p is that of sign flips, drawn at random: the others' values may be fractions.
    """
    from scipy.stats import permutation_test

    right = np.asarray(after, dtype=np.float64)
    others = [np.asarray(baseline, dtype=np.float64) for baseline in baselines]
    ps = [
        permutation_test(
            (right - other,),
            np.mean,
            permutation_type="samples",
            alternative="greater",
            n_resamples=FLIPS,
            batch=500,
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).pvalue
        for other in others
    ]
    interval = paired_difference(right, max(others, key=np.mean), seed=seed)
    return Comparison(interval.mean, interval.low, interval.high, len(right), float(max(ps)))


def gains_and_losses(after: ArrayLike, before: ArrayLike) -> tuple[int, int, int]:
    """Items gained, items lost, all items. What a model left to a die counts against `after`."""
    right, was_right = np.floor(after), np.ceil(before)
    assert right.shape == was_right.shape
    assert right.size
    return int((right > was_right).sum()), int((right < was_right).sum()), right.size


def score(gains: int, losses: int, n: int, difference: float) -> float:
    """Tango's Z for the null that the true difference is `difference` (his equations 6 to 8): normal under it."""
    linear = -gains - losses + (2 * n - gains + losses) * difference
    constant = -losses * difference * (1 - difference)
    lost = (math.sqrt(linear**2 - 8 * n * constant) - linear) / (4 * n)  # likeliest P(lost) under the null
    variance = n * (2 * lost + difference * (1 - difference))
    observed = gains - losses - n * difference
    if variance <= 0:  # nothing changed, and the null is that nothing does
        return 0.0 if observed == 0 else math.copysign(math.inf, observed)
    return observed / math.sqrt(variance)


def score_interval(gains: int, losses: int, n: int) -> tuple[float, float]:
    """All differences that the score test does not reject at 95 %, two-sided."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    estimate, edge = (gains - losses) / n, 1 - 1e-9
    low = -1.0 if estimate <= -edge else brentq(lambda d: score(gains, losses, n, d) - z, -edge, estimate)
    high = 1.0 if estimate >= edge else brentq(lambda d: score(gains, losses, n, d) + z, estimate, edge)
    return float(low), float(high)  # type: ignore[arg-type]


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for each other (Holm 1979): compared with a level, they hold it for all together."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = largest
    return adjusted
