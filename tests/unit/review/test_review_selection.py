import numpy as np
import pytest

from gristmill.review.queue import ChatMessage
from gristmill.review.selection import Sampled, choose, select


def sampled(*texts: str) -> Sampled:
    return Sampled([ChatMessage(role="user", content="Hi")], ("a", "b"), (list(texts), list(texts[::-1])), "Hello")


def test_the_best_is_that_of_the_mean_of_standardized_rewards():
    # one prompt, two sides, two samples; the second judge's scale is 100 times the first's
    small, large = np.array([[[[0, 3], [3, 0]]]]), np.array([[[[100, 0], [300, 200]]]])
    best, _ = choose(np.concatenate([small, large]).astype(float))
    # deviations: small ±1.5 → ±1; large −50, −150, +150, +50 of 111.8 → left (−1 − .447)/2 < (1 − 1.342)/2
    assert best.tolist() == [[1, 0]]


def test_disagreement_is_the_spread_of_the_margins():
    rewards = np.array(
        [
            [[[1], [-1]], [[1], [-1]]],  # this judge prefers the left of both prompts by 2
            [[[1], [-1]], [[-1], [1]]],  # that one the right of the second
        ]
    ).astype(float)
    _, disagreement = choose(rewards)
    assert disagreement.tolist() == [0, 2]


def test_a_judge_that_says_always_the_same_counts_for_nothing():
    best, disagreement = choose(np.array([[[[0.0, 1.0], [2.0, 1.0]]], [[[7.0, 7.0], [7.0, 7.0]]]]))
    assert best.tolist() == [[1, 0]]
    assert np.isfinite(disagreement).all()


def test_without_judges_the_only_sample_is_shown_and_several_are_refused():
    (candidate,) = select([sampled("x")], [])
    assert [(answer.model, answer.text) for answer in candidate.answers] == [("a", "x"), ("b", "x")]
    assert candidate.reference == "Hello"
    with pytest.raises(ValueError, match="need a reward model"):
        select([sampled("x", "y")], [])
