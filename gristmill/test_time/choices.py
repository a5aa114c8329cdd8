"""How often the chosen one of k answers is right, from n ≥ k sampled ones. P prompts, n answers each.

Every function gives, for each prompt, the expectation over all ways to take k of its n answers: less noise than k fresh
answers, and none of the bias of reusing the same first ones.
"""

from collections import Counter
from collections.abc import Sequence
from math import comb

import numpy as np

DRAWS = 500
"""Subsets drawn for a majority, which has no closed form."""


def any_right(right_Pn: np.ndarray, k: int) -> np.ndarray:
    """Probability [P] that k answers hold a right one: pass@k, unbiased (Chen et al. 2021, arXiv:2107.03374)."""
    n = right_Pn.shape[1]
    wrong = n - right_Pn.sum(axis=1)
    return np.array([1 - comb(int(count), k) / comb(n, k) for count in wrong])


def best_scored(right_Pn: np.ndarray, score_Pn: np.ndarray, k: int) -> np.ndarray:
    """Probability [P] that the highest scored of k answers is right; among equal scores each is as likely.

    In ascending order, answer i of n is the best of C(i−1, k−1) of the C(n, k) subsets.
    """
    n = right_Pn.shape[1]
    is_best = np.array([comb(place, k - 1) / comb(n, k) for place in range(n)])
    return np.array(
        [_in_order(right, score) @ is_best for right, score in zip(right_Pn.astype(float), score_Pn, strict=True)]
    )


def _in_order(right: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Right or not by ascending score, with the mean of equals in place of each of them."""
    _, group = np.unique(score, return_inverse=True)
    mean = np.bincount(group, weights=right) / np.bincount(group)
    return mean[np.sort(group)]


def majority_right(right_Pn: np.ndarray, said_Pn: Sequence[Sequence[str | None]], k: int, *, seed: int) -> np.ndarray:
    """Probability [P] that the answer given most often among k is right, over `DRAWS` subsets.

    said: what each answer comes to; None gives no vote. Of several with equally many votes each is as likely; without
    any vote nothing is right.
    """
    n = right_Pn.shape[1]
    random = np.random.default_rng([seed, k])
    subsets = [tuple(range(n))] if k == n else [random.permutation(n)[:k].tolist() for _ in range(DRAWS)]
    return np.array(
        [
            np.mean([_share_right(right, said, subset) for subset in subsets])
            for right, said in zip(right_Pn, said_Pn, strict=True)
        ]
    )


def _share_right(right: np.ndarray, said: Sequence[str | None], subset: Sequence[int]) -> float:
    votes = Counter(said[place] for place in subset if said[place] is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    chosen = {answer for answer, count in votes.items() if count == most}
    # answers that come to the same are right or wrong together
    is_right = {said[place]: bool(right[place]) for place in subset}
    return sum(is_right[answer] for answer in chosen) / len(chosen)
