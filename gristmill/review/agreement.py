"""What a review says about its reviewers: agreement, caught errors, and whether the left side wins too often.

Krippendorff's alpha for nominal data (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability") takes any number
of reviewers and missing judgements; Cohen's kappa is given for each two reviewers.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gristmill.review.folder import Review
from gristmill.review.log import Judgement

RESAMPLES = 2000


def review_report(review: Review) -> dict[str, Any]:
    """Counts, agreement, catch rates and position bias, JSON-able; shares come with their 95 % intervals."""
    by_reviewer: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in review.judged.standing:
        by_reviewer[judgement.reviewer].append(judgement)
    preferred = Counter(
        review.items[each.item].answers[each.preferred].model
        for each in review.judged.standing
        if each.preferred is not None and not review.items[each.item].planted
    )
    return {
        "schema_version": 1,
        "items": len(review.items),
        "planted": sum(1 for item in review.items.values() if item.planted),
        "judgements": len(review.judged.standing),
        "undone": review.judged.undone,
        "torn_lines": review.judged.torn,
        "preferred": dict(preferred.most_common()),
        "reviewers": {name: _reviewer(review, said) for name, said in sorted(by_reviewer.items())},
        "agreement": _agreement(review),
    }


def _reviewer(review: Review, said: Sequence[Judgement]) -> dict[str, Any]:
    tested = [each for each in said if review.items[each.item].planted and each.verdict not in ("skip", "written")]
    sides = [each.verdict for each in said if each.preferred is not None]
    return {
        "judgements": len(said),
        "verdicts": dict(Counter(each.verdict for each in said).most_common()),
        "caught": share(sum(1 for each in tested if each.preferred == 0), len(tested)),
        "left": share(sides.count("left"), len(sides)),
        "median_seconds": float(np.median([each.seconds for each in said if each.seconds is not None] or [math.nan])),
    }


def share(count: int, of: int) -> dict[str, float | int | None]:
    """A share with Wilson's 95 % interval; None where there is nothing to count."""
    if of == 0:
        return {"count": 0, "of": 0, "share": None, "ci_low": None, "ci_high": None}
    from scipy.stats import binomtest

    interval = binomtest(count, of).proportion_ci(method="wilson")
    return {
        "count": count,
        "of": of,
        "share": count / of,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
    }


def _agreement(review: Review) -> dict[str, Any]:
    """Over the items without a planted error; a skipped item and a written answer are no vote."""
    votes: dict[str, dict[str, str]] = defaultdict(dict)
    for each in review.judged.standing:
        if each.verdict not in ("skip", "written") and not review.items[each.item].planted:
            votes[each.item][each.reviewer] = each.verdict if each.preferred is None else f"answer {each.preferred}"
    shared = [list(by.values()) for by in votes.values() if len(by) > 1]
    pairs = [left == right for unit in shared for left, right in combinations(unit, 2)]
    return {
        "items": len(shared),
        "raw": sum(pairs) / len(pairs) if pairs else None,
        **alpha_with_interval(shared),
        "cohen_kappa": _kappas(list(votes.values())),
    }


def alpha_with_interval(units: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """Krippendorff's alpha of nominal votes, [unit][vote], with the percentile bootstrap's interval over units.

    None where no unit has two votes, or all votes are the same and chance cannot be told from agreement.
    """
    names: dict[str, float | None] = {"alpha": None, "alpha_ci_low": None, "alpha_ci_high": None}
    categories = sorted({vote for unit in units for vote in unit})
    counts_UC = np.array([[list(unit).count(one) for one in categories] for unit in units if len(unit) > 1])
    if len(counts_UC) == 0 or len(categories) < 2:
        return names
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(counts_UC), size=(RESAMPLES, len(counts_UC)))
    resampled = np.array([_alpha(counts_UC[rows]) for rows in drawn])
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if len(counts_UC) > 1 else (math.nan, math.nan)
    found = dict(zip(names, map(float, (_alpha(counts_UC), low, high)), strict=True))
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _alpha(counts_UC: np.ndarray) -> float:
    """1 − observed / expected disagreement. counts: [units, categories], each unit with at least two votes."""
    votes_U, votes_C = counts_UC.sum(axis=1), counts_UC.sum(axis=0)
    total = votes_U.sum()
    observed = ((votes_U**2 - (counts_UC**2).sum(axis=1)) / (votes_U - 1)).sum() / total
    expected = (total**2 - (votes_C**2).sum()) / (total * (total - 1))
    return float(1 - observed / expected) if expected else math.nan


def _kappas(votes: Sequence[dict[str, str]]) -> dict[str, float | None]:
    """For each two reviewers with items in common, by their names."""
    from sklearn.metrics import cohen_kappa_score

    found: dict[str, float | None] = {}
    for one, other in combinations(sorted({name for by in votes for name in by}), 2):
        both = [(by[one], by[other]) for by in votes if one in by and other in by]
        if both:
            ones, others = zip(*both, strict=True)
            alike = len({*ones, *others}) == 1  # 0 / 0
            found[f"{one}, {other}"] = None if alike else float(cohen_kappa_score(ones, others))
    return found
