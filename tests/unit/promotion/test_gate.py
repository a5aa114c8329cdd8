import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gristmill.evaluate.pairing import write_items
from gristmill.promotion.config import (
    AtLeast,
    AtMost,
    BetterThanBaseline,
    BetterThanChampion,
    NotWorseThanChampion,
    PromoteConfig,
    Rule,
)
from gristmill.promotion.exposure import Exposure
from gristmill.promotion.gate import Measured, judge, read_measured
from gristmill.report import Report

METRICS = {"bits_per_byte": 1.8, "docs_choice_accuracy": 0.5}
CLEAN = {"docs_choice": Exposure(), "piqa": Exposure()}
N = 1000
ASKED = {"version": 1, "definition": {"doc_to_text": "{{question}}"}, "prefix_token": "<|bos|>", "chat": True}


def measured(right: Mapping[str, float], *, benchmark: str = "docs_choice", metrics: dict | None = None) -> Measured:
    answers = {key: {"correct": value, "word_overlap": 0.25, "shortest": 0.25} for key, value in right.items()}
    return Measured(METRICS if metrics is None else metrics, {benchmark: answers}, {benchmark: ASKED})


def champion_and(*, gains: int, losses: int) -> tuple[Measured, Measured]:
    """A champion right on the first half of 1,000 items, and a challenger that gains and loses so many."""
    champion = {f"{number:04d}": float(number < N // 2) for number in range(N)}
    challenger = dict(champion)
    challenger |= {f"{N // 2 + number:04d}": 1.0 for number in range(gains)}
    challenger |= {f"{number:04d}": 0.0 for number in range(losses)}
    return measured(champion), measured(challenger)


def test_a_floor_and_a_ceiling_that_are_met_let_the_model_pass():
    rules: list[Rule] = [AtLeast(metric="docs_choice_accuracy", value=0.5), AtMost(metric="bits_per_byte", value=2)]
    verdict = judge(Measured(METRICS), None, {}, PromoteConfig(rules=rules))
    assert verdict.passed
    assert [rule["short_by"] for rule in verdict.rules] == [0, 0]


def test_a_rule_that_fails_says_which_number_and_by_how_much():
    rules: list[Rule] = [AtMost(metric="bits_per_byte", value=1.5), AtLeast(metric="docs_choice_accuracy", value=0.4)]
    verdict = judge(Measured(METRICS), None, {}, PromoteConfig(rules=rules))
    assert not verdict.passed
    assert [rule["passed"] for rule in verdict.rules] == [False, True]
    assert verdict.rules[0]["short_by"] == pytest.approx(0.3)
    assert verdict.rules[0]["says"] == "bits_per_byte is 1.8, needed at most 1.5: short by 0.3"


@pytest.mark.parametrize("metrics", [{}, {"x": math.nan}, {"x": math.inf}, {"x": -math.inf}])
@pytest.mark.parametrize("rule", [AtLeast(metric="x", value=0), AtMost(metric="x", value=1)])
def test_a_number_that_is_missing_or_not_finite_fails(metrics: dict[str, float], rule: AtLeast | AtMost):
    verdict = judge(Measured(metrics), None, {}, PromoteConfig(rules=[rule]))
    assert not verdict.passed
    assert verdict.rules[0]["found"] is None


@pytest.mark.parametrize(
    ("gains", "losses", "passes"),
    [(60, 20, True), (20, 60, False), (40, 40, False), (0, 0, False), (15, 6, False)],  # the last: p = .039
)
def test_a_planted_better_model_is_promoted_and_a_worse_or_equal_one_is_not(gains: int, losses: int, passes: bool):
    champion, challenger = champion_and(gains=gains, losses=losses)
    assert judge(challenger, champion, CLEAN, PromoteConfig()).passed == passes


@pytest.mark.parametrize(("gains", "losses", "passes"), [(40, 40, True), (0, 0, True), (50, 55, False), (0, 40, False)])
def test_a_champion_may_be_missed_by_less_than_the_margin(gains: int, losses: int, passes: bool):
    """(50, 55) is worse by half a point only, but on 1,000 items it might be worse by two."""
    champion, challenger = champion_and(gains=gains, losses=losses)
    rules: list[Rule] = [NotWorseThanChampion(margin=0.02)]
    assert judge(challenger, champion, CLEAN, PromoteConfig(rules=rules)).passed == passes


@pytest.mark.parametrize("rule", [BetterThanChampion(), NotWorseThanChampion(), BetterThanBaseline()])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_one_item_that_is_not_finite_fails_every_comparison(rule, broken: float):
    champion, challenger = champion_and(gains=100, losses=0)
    worse = {key: dict(answer) for key, answer in challenger.answers["docs_choice"].items()}
    worse["0007"]["correct"] = broken
    broken_one = replace(challenger, answers={"docs_choice": worse})
    verdict = judge(broken_one, champion, CLEAN, PromoteConfig(rules=[rule]))
    assert not verdict.passed
    assert "not finite" in verdict.rules[0]["says"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"version": 2}, "the definition's version is 1 here, 2 there"),
        ({"definition": {"doc_to_text": "Q: {{q}}"}}, "doc_to_text is '{{question}}' here, 'Q: {{q}}' there"),
        ({"prefix_token": None}, "the first token is '<|bos|>' here, none there"),
        ({"chat": False}, "the format is chat here, plain there"),
    ],
)
@pytest.mark.parametrize("rule", [BetterThanChampion(), NotWorseThanChampion()])
def test_a_champion_that_was_asked_otherwise_is_not_compared(rule: Rule, changed: dict, says: str):
    champion, challenger = champion_and(gains=100, losses=0)
    otherwise = replace(champion, asked={"docs_choice": ASKED | changed})
    verdict = judge(challenger, otherwise, CLEAN, PromoteConfig(rules=[rule, BetterThanBaseline()]))
    assert [each["passed"] for each in verdict.rules] == [False, True]
    assert says in verdict.rules[0]["says"]
    assert not verdict.passed


def test_a_champion_of_which_nobody_knows_how_it_was_asked_is_not_compared():
    champion, challenger = champion_and(gains=100, losses=0)
    verdict = judge(challenger, replace(champion, asked={}), CLEAN, PromoteConfig(rules=[BetterThanChampion()]))
    assert not verdict.passed
    assert "how the other one was asked is not on record" in verdict.rules[0]["says"]


def test_a_verdict_holds_every_number_of_a_comparison():
    champion, challenger = champion_and(gains=60, losses=20)
    (_, rule) = judge(challenger, champion, CLEAN, PromoteConfig()).rules
    assert rule["found"] == pytest.approx(0.04)
    assert rule["low"] < 0.04 < rule["high"]
    assert rule["n"] == N
    assert rule["p"] <= rule["p_adjusted"] <= rule["level"] == 0.025
    assert rule["left_out"] == 0
    assert "on 1000 items" in rule["says"]


def test_several_comparisons_are_corrected_for_each_other():
    """40 gained and 20 lost, p = .0067: enough alone, and not as one of four of which the others fail."""
    champion, challenger = champion_and(gains=40, losses=20)
    alone = judge(challenger, champion, CLEAN, PromoteConfig(rules=[BetterThanChampion()]))
    assert alone.passed
    family: list[Rule] = [
        BetterThanChampion(),
        *[BetterThanChampion(benchmark=name) for name in ("piqa", "copa", "wsc")],
    ]
    among = judge(challenger, champion, CLEAN, PromoteConfig(rules=family)).rules[0]
    assert among["p"] == pytest.approx(alone.rules[0]["p"])
    assert among["p_adjusted"] == pytest.approx(4 * among["p"])
    assert not among["passed"]


def test_without_a_champion_only_the_baselines_are_to_be_beaten():
    _, challenger = champion_and(gains=0, losses=0)
    verdict = judge(challenger, None, CLEAN, PromoteConfig())
    assert verdict.passed
    assert "no champion yet" in verdict.rules[1]["says"]
    guessing = measured({str(number): float(number % 4 == 0) for number in range(N)})
    assert not judge(guessing, None, CLEAN, PromoteConfig()).passed


def test_items_that_a_model_may_have_trained_on_do_not_count():
    """All 60 gains are on such items, and without them nothing was gained."""
    champion, challenger = champion_and(gains=60, losses=0)
    gained = frozenset(f"{N // 2 + number:04d}" for number in range(60))
    exposure = {"docs_choice": Exposure(items=gained)}
    (rule,) = judge(challenger, champion, exposure, PromoteConfig(rules=[BetterThanChampion()])).rules
    assert not rule["passed"]
    assert (rule["n"], rule["left_out"], rule["found"]) == (N - 60, 60, 0.0)


@pytest.mark.parametrize(
    ("exposure", "says"),
    [
        ({}, "no record says"),
        ({"docs_choice": Exposure(unknown="it began with open weights")}, "began with open weights"),
        ({"docs_choice": Exposure(items=frozenset(f"{n:04d}" for n in range(950)))}, "50 items count, needed at least"),
    ],
)
def test_a_comparison_on_items_that_a_model_may_have_trained_on_is_refused(exposure, says: str):
    champion, challenger = champion_and(gains=200, losses=0)
    (rule,) = judge(challenger, champion, exposure, PromoteConfig(rules=[BetterThanChampion()])).rules
    assert not rule["passed"]
    assert says in rule["says"]


def test_models_that_answered_different_items_cannot_be_compared():
    challenger, champion = measured({"x": 1, "y": 1, "z": 1}), measured({"x": 1, "y": 1})
    (rule,) = judge(challenger, champion, CLEAN, PromoteConfig(rules=[BetterThanChampion()])).rules
    assert not rule["passed"]
    assert "only 2 are the same" in rule["says"]


def test_a_model_as_good_as_the_quickstarts_passes_over_no_champion():
    """Right on .313 of 1,064 items where the better baseline has .264 (docs/decisions/0003): +.049."""
    right = np.zeros(1064)
    right[:333] = 1
    overlap = np.zeros(1064)
    overlap[np.random.default_rng(0).permutation(1064)[:281]] = 1
    answers = {
        str(number): {"correct": right[number], "word_overlap": overlap[number], "shortest": 0.25}
        for number in range(1064)
    }
    verdict = judge(Measured({}, {"docs_choice": answers}), None, CLEAN, PromoteConfig())
    assert verdict.rules[0]["found"] == pytest.approx(0.049, abs=0.001)
    assert verdict.passed


def test_what_was_recorded_is_read_from_an_evaluations_folder(tmp_path: Path):
    row = {"benchmark": "piqa", "id": "a", "scores": [0.0], "chosen": 0, "answer": 0, "correct": 1.0}
    write_items(tmp_path, [row | {"word_overlap": 0.5, "shortest": None}])
    asked = {"benchmarks": {"piqa": ASKED}}
    report = Report(rows_in=1, rows_out=1, unit="items", metrics=METRICS, details=asked)
    (tmp_path / "result.json").write_text(report.model_dump_json())
    found = read_measured(tmp_path, {"model_megabytes": 13.0})
    assert found.metrics == METRICS | {"model_megabytes": 13.0}
    assert found.answers["piqa"]["a"]["correct"] == 1.0
    assert math.isnan(found.answers["piqa"]["a"]["shortest"])
    assert found.asked == {"piqa": ASKED}


def test_a_gate_without_rules_is_refused():
    with pytest.raises(ValueError, match="every model would pass"):
        PromoteConfig(rules=[])
