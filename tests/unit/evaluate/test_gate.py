from pathlib import Path

import pytest

from gristmill.evaluate.config import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion, PromoteConfig
from gristmill.evaluate.gate import judge, judge_evaluations
from gristmill.evaluate.pairing import write_items
from gristmill.evaluate.statistics import Interval
from gristmill.report import Report

GOOD = {"bits_per_byte": 1.8, "docs_choice_accuracy": 0.5, "docs_choice_accuracy_minus_baseline_ci_low": 0.1}


def test_a_floor_a_ceiling_and_a_baseline_that_are_met_let_the_model_pass():
    rules = [AtLeast(metric="docs_choice_accuracy", value=0.5), AtMost(metric="bits_per_byte", value=2)]
    verdict = judge(GOOD, None, PromoteConfig(rules=[*rules, BetterThanBaseline(), NotWorseThanChampion()]))
    assert verdict.passed
    assert [rule["short_by"] for rule in verdict.rules] == [0, 0, 0, 0]


def test_a_rule_that_fails_says_which_number_and_by_how_much():
    rules = [AtMost(metric="bits_per_byte", value=1.5), AtLeast(metric="docs_choice_accuracy", value=0.4)]
    verdict = judge(GOOD, None, PromoteConfig(rules=rules))
    assert not verdict.passed
    assert [rule["passed"] for rule in verdict.rules] == [False, True]
    assert verdict.rules[0]["short_by"] == pytest.approx(0.3)
    assert verdict.rules[0]["says"] == "bits_per_byte is 1.8, needed at most 1.5: short by 0.3"


@pytest.mark.parametrize("metrics", [{}, {"docs_choice_accuracy": float("nan")}])
def test_a_number_that_is_missing_or_not_finite_fails(metrics: dict[str, float]):
    for rule in (AtLeast(metric="docs_choice_accuracy", value=0), AtMost(metric="docs_choice_accuracy", value=1)):
        verdict = judge(metrics, None, PromoteConfig(rules=[rule]))
        assert not verdict.passed
        assert verdict.rules[0]["found"] is None


@pytest.mark.parametrize(("low", "passes"), [(-0.019, True), (-0.02, False), (0.01, True), (float("nan"), False)])
def test_the_champion_may_be_missed_by_less_than_the_margin(low: float, passes: bool):
    config = PromoteConfig(rules=[NotWorseThanChampion(margin=0.02)])
    assert judge(GOOD, {"docs_choice": Interval(0.0, low, 0.1)}, config).passed == passes


def evaluation(folder: Path, correct: dict[str, float]) -> Path:
    folder.mkdir()
    rows = [
        {"benchmark": "docs_choice", "id": key, "scores": [0.0], "chosen": 0, "answer": 0, "correct": value}
        for key, value in correct.items()
    ]
    write_items(folder, rows)
    report = Report(rows_in=len(rows), rows_out=len(rows), unit="items", metrics=GOOD)
    (folder / "result.json").write_text(report.model_dump_json())
    return folder


def test_models_that_answered_different_items_cannot_be_compared(tmp_path: Path):
    challenger = evaluation(tmp_path / "a", {"x": 1, "y": 1, "z": 1})
    champion = evaluation(tmp_path / "b", {"x": 1, "y": 1})
    verdict = judge_evaluations(challenger, champion, PromoteConfig())
    assert not verdict.passed
    assert "only 2 are the same" in verdict.rules[-1]["says"]


def test_a_challenger_worse_on_the_same_items_fails_and_an_equal_one_passes(tmp_path: Path):
    half = {str(n): float(n % 2) for n in range(100)}
    champion = evaluation(tmp_path / "champion", half)
    equal = evaluation(tmp_path / "equal", dict(reversed(half.items())))
    worse = evaluation(tmp_path / "worse", dict.fromkeys(half, 0.0))
    assert judge_evaluations(equal, champion, PromoteConfig()).passed
    assert not judge_evaluations(worse, champion, PromoteConfig()).passed


def test_a_gate_without_rules_is_refused():
    with pytest.raises(ValueError, match="every model would pass"):
        PromoteConfig(rules=[])
