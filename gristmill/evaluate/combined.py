"""Numbers made of several benchmarks: the mean of centred accuracies, and the difference between two benchmarks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.evaluate.harness_config import HarnessBenchmark
from gristmill.evaluate.statistics import CONFIDENCE, RESAMPLES, Interval

CORE_TASKS = 22
"""Tasks of the CORE score of DCLM (Li et al. 2024, arXiv:2406.11794), which nanochat reports too."""


def combined_metrics(
    benchmarks: Sequence[HarnessBenchmark], correct: Mapping[str, Sequence[float]], *, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details. correct: by benchmark's name, for each item the chance of being right."""
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
    core = [benchmark for benchmark in benchmarks if benchmark.core and benchmark.chance is not None]
    if core:
        chances = [benchmark.chance or 0.0 for benchmark in core]
        tasks = [correct[benchmark.name] for benchmark in core]
        metrics |= _of_means(lambda *means: sum(map(centred, means, chances)) / len(means), tasks, seed).metrics(
            "core_mean"
        )
        details["core_mean"] = f"of {len(core)} of CORE's {CORE_TASKS} tasks: {', '.join(b.name for b in core)}"
    for benchmark in benchmarks:
        if benchmark.minus is not None and benchmark.minus in correct:
            both = [correct[benchmark.name], correct[benchmark.minus]]
            name = f"{benchmark.name}_minus_{benchmark.minus}"
            metrics |= _of_means(lambda mine, other: mine - other, both, seed).metrics(name)
    return metrics, details


def centred(accuracy: float, chance: float) -> float:
    """0 for a blind guess, 1 for all right (DCLM; Li et al. 2024, arXiv:2406.11794)."""
    return (accuracy - chance) / (1 - chance)


def _of_means(statistic: Any, samples: Sequence[Sequence[float]], seed: int) -> Interval:
    """A function of the means of independent samples, with the percentile bootstrap's interval. NaN as in
    `mean_interval`."""
    from scipy.stats import bootstrap

    data = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if not all(np.isfinite(sample).all() for sample in data):
        return Interval(float("nan"), float("nan"), float("nan"))
    found = bootstrap(
        data,
        lambda *resampled, axis=-1: statistic(*(sample.mean(axis=axis) for sample in resampled)),
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(statistic(*(sample.mean() for sample in data))), float(found.low), float(found.high))
