"""Means with 95 % intervals by bootstrap over items; differences are paired, item by item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 4999
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def metrics(self, name: str) -> dict[str, float]:
        """`name`, `name_ci_low` and `name_ci_high`, as result.json and the result table call them."""
        return {name: self.mean, f"{name}_ci_low": self.low, f"{name}_ci_high": self.high}


def mean_interval(values: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean over items with the percentile bootstrap's interval (Efron 1979). values: [n], n ≥ 2.

    All NaN when a value is not finite. Equal values give an interval of no width.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        raise ValueError(f"an interval needs at least 2 items, found {len(sample)}; measure on more")
    if not np.isfinite(sample).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(sample.mean())
    if (sample == sample[0]).all():
        return Interval(mean, mean, mean)
    return Interval(mean, *_bootstrap((sample,), np.mean, seed=seed))


def paired_difference(after: ArrayLike, before: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean of after − before over the same items in the same order. [n] each."""
    after, before = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    assert after.shape == before.shape
    return mean_interval(after - before, seed=seed)


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, *, seed: int = 0) -> Interval:
    """Σ numerators / Σ denominators with the percentile bootstrap's interval over pairs of them, [n] each, n ≥ 2.

    For items of different sizes: what is resampled is the whole item. NaN as in `mean_interval`.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if len(above) < 2:
        raise ValueError(f"an interval needs at least 2 items, found {len(above)}; measure on more")
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        return Interval(float("nan"), float("nan"), float("nan"))
    ratio = float(above.sum() / below.sum())
    if (above * below[0] == above[0] * below).all():
        return Interval(ratio, ratio, ratio)
    return Interval(
        ratio, *_bootstrap((above, below), lambda x, y, axis=-1: x.sum(axis=axis) / y.sum(axis=axis), seed=seed)
    )


def _bootstrap(samples: tuple[np.ndarray, ...], statistic: Callable[..., Any], *, seed: int) -> tuple[float, float]:
    """Ends of the percentile interval; items of several samples are resampled together. statistic: takes an `axis`."""
    from scipy.stats import bootstrap  # a second of import, for the stages that measure

    found = bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def per_token(nats: ArrayLike, tokens: Sequence[int]) -> np.ndarray:
    """Per-row values whose mean is Σ nats / Σ tokens. [rows] each."""
    return np.asarray(nats, dtype=np.float64) * len(tokens) / sum(tokens)
