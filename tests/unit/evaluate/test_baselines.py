import math

import pytest

from gristmill.evaluate.baselines import expected_correct, shared_words, shortness


def test_shared_words_are_counted_between_the_parts_of_the_name_and_the_choice():
    choices = ["Read a JSON file.", "Write a file.", "Sort numbers."]
    assert shared_words("What does `io.readJSON_file` do?", choices) == [3, 1, 0]


def test_without_a_name_in_backticks_the_whole_question_counts():
    assert shared_words("Which animal barks?", ["An animal that barks", "A cat"]) == [2, 0]


def test_the_shortest_choice_scores_highest_in_bytes():
    assert shortness(["ééé", "aaaa"]) == [-6, -4]


@pytest.mark.parametrize(
    ("scores", "answer", "chance"),
    [([1, 2, 0], 1, 1.0), ([1, 2, 0], 0, 0.0), ([2, 2, 0, 0], 1, 0.5), ([0, 0, 0, 0], 3, 0.25)],
)
def test_ties_are_broken_by_a_fair_die(scores: list[float], answer: int, chance: float):
    assert expected_correct(scores, answer) == chance


def test_a_score_that_is_not_a_number_makes_the_item_unknown():
    assert math.isnan(expected_correct([1.0, math.nan], 0))
