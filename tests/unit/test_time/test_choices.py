"""Choices among sampled answers, against all subsets by brute force."""

from itertools import combinations

import numpy as np
import pytest

from gristmill.test_time.choices import any_right, best_scored, majority_right

RIGHT = np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
SCORE = np.array([[0.1, 0.9, 0.3, 0.7, 0.2], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1.0]])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_any_and_best_are_means_over_all_subsets(k: int):
    subsets = list(combinations(range(5), k))
    for prompt in range(3):
        some = np.mean([RIGHT[prompt, list(subset)].any() for subset in subsets])
        best = np.mean([RIGHT[prompt, max(subset, key=lambda place: SCORE[prompt, place])] for subset in subsets])
        assert any_right(RIGHT, k)[prompt] == pytest.approx(some)
        assert best_scored(RIGHT, SCORE, k)[prompt] == pytest.approx(best)


def test_equal_scores_choose_by_chance():
    assert best_scored(RIGHT, np.zeros((3, 5)), 3).tolist() == pytest.approx([0.4, 0.0, 1.0])


def test_a_majority_of_all_answers_is_counted():
    said = [["4", "5", "5", "4", "7"], ["1", "1", "2", None, None], ["3"] * 5]
    # first: "4" and "5" twice each, and "4" is right; second: a majority for a wrong answer; third: all right
    assert majority_right(RIGHT, said, 5, seed=0).tolist() == [0.5, 0.0, 1.0]


def test_a_majority_of_a_part_is_the_mean_over_subsets():
    said = [["4", "5", "6", "4", "7"]]
    # two of five, C(5, 2) = 10: both right once (1), one right in 6 (a tie, 1/2), none in 3
    assert majority_right(RIGHT[:1], said, 2, seed=0)[0] == pytest.approx((1 + 6 / 2) / 10, abs=0.05)


def test_without_a_vote_nothing_is_right():
    assert majority_right(RIGHT[:1], [[None] * 5], 3, seed=0).tolist() == [0.0]
