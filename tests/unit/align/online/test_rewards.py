"""Rewards as functions of answers."""

from typing import Any

import numpy as np
import pytest

from gristmill.align.online import config as kinds
from gristmill.align.online.prompts import Prompt
from gristmill.align.online.rewards import Rewards, final_number, repetition
from gristmill.align.online.rollout import Answer


def answer(text: str, *, reference: str | None = None, finished: bool = True, tokens: int = 4, **row: Any) -> Answer:
    return Answer(Prompt("r1", "Wie viel ist das?", reference, row), tuple(range(tokens)), text, finished)


def reward(config: kinds.AnyReward, *answers: Answer) -> list[float]:
    return Rewards([config], max_new_tokens=8, seed=0)(answers)[0].tolist()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 1,234 apples, #### 72", "72"),
        ("72.50 dollars", "72.5"),
        ("it is -007.", "-7"),
        ("costs $1,024,000.00", "1024000"),
        ("0.0", "0"),
        ("-0", "0"),
        (".5", "0.5"),
        ("it costs $.50", "0.5"),
        ("-.25", "-0.25"),
        ("1.5e3", "1500"),
        ("1,024e2 m", "102400"),
        ("12.5E-2", "0.125"),
        ("1e-3", "0.001"),
        ("1e9999", "9999"),  # a number of ten thousand digits is none that anybody meant
        ("section 1.2.3", "3"),
        ("It is so.5", "5"),
        ("wait ...7", "7"),
        ("1e5th", "5"),
        ("9" * 40, "9" * 40),
        ("none", None),
    ],
)
def test_the_final_number_of_a_text(text: str, number: str | None):
    assert final_number(text) == number


def test_a_right_number_counts_however_it_is_written():
    right, wrong, none = (answer(text, reference="#### 1,600") for text in ("Thus 1600.0", "1600 or 16", "many"))
    assert reward(kinds.NumberReward(), right, wrong, none) == [1, 0, 0]


def test_a_reference_without_a_number_is_never_met():
    assert reward(kinds.NumberReward(), answer("no", reference="no")) == [0]


def test_a_missing_reference_is_an_error_that_names_the_row():
    with pytest.raises(ValueError, match="row r1 has no reference"):
        reward(kinds.ExactReward(), answer("a"))


def test_parts_are_weighted_and_kept_apart():
    configs: list[kinds.AnyReward] = [
        kinds.ExactReward(weight=2.0),
        kinds.LengthReward(weight=-1.0),
        kinds.FinishedReward(),
    ]
    total, parts = Rewards(configs, max_new_tokens=8, seed=0)(
        [answer(" 4 ", reference="4", tokens=2), answer("5", reference="4", tokens=8, finished=False)]
    )
    assert total.tolist() == [2 - 0.25 + 1, -1.0]
    assert {name: values.tolist() for name, values in parts.items()} == {
        "exact": [1, 0],
        "length": [0.25, 1],
        "finished": [1, 0],
    }


def test_two_rewards_of_one_kind_have_names_of_their_own():
    configs: list[kinds.AnyReward] = [kinds.PatternReward(pattern=r"\d+"), kinds.PatternReward(pattern=r"-\d+")]
    _, parts = Rewards(configs, max_new_tokens=8, seed=0)([answer("-12")])
    assert {name: values.tolist() for name, values in parts.items()} == {"pattern": [0], "pattern_1": [1]}


def test_a_pattern_that_runs_away_earns_nothing():
    evil = kinds.PatternReward(pattern=r"(a|aa)+$")
    assert reward(evil, answer("a" * 60 + "b"), answer("aa")) == [0, 1]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no regular expression"):
        kinds.PatternReward(pattern="(")


def test_repetition_is_the_share_of_triples_seen_before():
    assert repetition("a b c d") == 0
    assert repetition("a b a b a b") == pytest.approx(2 / 4)  # aba, bab, aba, bab
    assert repetition("a b") == 0


def test_random_rewards_have_nothing_to_do_with_quality_but_stay_what_they_are():
    many = [answer(str(number), reference="7", tokens=number + 1) for number in range(400)]
    values = np.array(reward(kinds.RandomReward(), *many))
    assert values.tolist() == reward(kinds.RandomReward(), *many)
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 400)


def test_toxic_answers_score_higher_than_kind_ones():
    toxic, kind = reward(kinds.ToxicityReward(), answer("You stupid idiot, shut up."), answer("Thank you, that helps."))
    assert toxic > 0.5 > kind


def test_an_answer_in_the_language_of_the_question_is_told_from_others():
    german, english = (
        answer("Das sind zusammen ungefähr vierzig Euro."),
        answer("That makes about forty euros in total."),
    )
    assert reward(kinds.LanguageReward(), german, english) == [1, 0]


def test_a_reward_that_is_not_finite_stops_the_run():
    broken = Rewards(
        [kinds.RewardModelReward()],
        max_new_tokens=8,
        seed=0,
        scorers={"reward_model": lambda rows: [float("nan")] * len(rows)},
    )
    with pytest.raises(ValueError, match="reward_model gave a number that is not finite"):
        broken([answer("a")])
