"""The gate in front of `champion`: recorded numbers in, a verdict out, with every rule's numbers.

A number that is missing or not finite fails its rule. The champion itself is compared on the same items, pair by pair;
without a champion there is nothing to fall behind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.evaluate.config import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion, PromoteConfig, Rule
from gristmill.evaluate.statistics import Interval
from gristmill.program import RESULT
from gristmill.report import Report


@dataclass(frozen=True)
class Verdict:
    """Whether every rule passed. Each of `rules` is JSON: rule, metric, found, needed, passed, short_by, says."""

    passed: bool
    rules: list[dict[str, Any]]


def judge_evaluations(evaluation: Path, champion: Path | None, config: PromoteConfig) -> Verdict:
    """Judge the evaluation in one folder against the champion's in another (None: there is no champion)."""
    from gristmill.evaluate.pairing import accuracy_difference, read_correct

    candidate = Report.model_validate_json((evaluation / RESULT).read_bytes()).metrics
    if champion is None:
        return judge(candidate, None, config)
    benchmarks = {rule.benchmark for rule in config.rules if isinstance(rule, NotWorseThanChampion)}
    differences = {
        name: accuracy_difference(read_correct(evaluation, name), read_correct(champion, name), seed=config.seed)
        for name in sorted(benchmarks)
    }
    return judge(candidate, differences, config)


def judge(
    candidate: Mapping[str, float], over_champion: Mapping[str, Interval | str] | None, config: PromoteConfig
) -> Verdict:
    """Apply every rule to the candidate's metrics.

    over_champion: for each benchmark the paired accuracy difference to the champion, or why there is none; None when
    there is no champion.
    """
    rules = [_apply(rule, candidate, over_champion) for rule in config.rules]
    return Verdict(all(rule["passed"] for rule in rules), rules)


def _apply(
    rule: Rule, candidate: Mapping[str, float], over_champion: Mapping[str, Interval | str] | None
) -> dict[str, Any]:
    if isinstance(rule, AtLeast):
        return _judged(rule.rule, rule.metric, candidate.get(rule.metric), rule.value, "at least")
    if isinstance(rule, AtMost):
        return _judged(rule.rule, rule.metric, candidate.get(rule.metric), rule.value, "at most")
    if isinstance(rule, BetterThanBaseline):
        metric = f"{rule.benchmark}_accuracy_minus_baseline_ci_low"
        return _judged(rule.rule, metric, candidate.get(metric), 0.0, "above")
    metric = f"{rule.benchmark}_accuracy_minus_champion_ci_low"
    if over_champion is None:
        return _record(rule.rule, metric, None, -rule.margin, passed=True, says=f"{metric}: there is no champion yet")
    difference = over_champion.get(rule.benchmark, "it was not compared")
    if isinstance(difference, str):
        says = f"{metric} cannot be known: {difference}"
        return _record(rule.rule, metric, None, -rule.margin, passed=False, says=says)
    return _judged(rule.rule, metric, difference.low, -rule.margin, "above")


def _judged(rule: str, metric: str, found: float | None, needed: float, relation: str) -> dict[str, Any]:
    if found is None or not math.isfinite(found):
        says = f"{metric} was not measured, or is not finite; needed {relation} {needed:g}"
        return _record(rule, metric, None, needed, passed=False, says=says)
    passed = {"at least": found >= needed, "at most": found <= needed, "above": found > needed}[relation]
    says = f"{metric} is {found:.4g}, needed {relation} {needed:g}"
    if not passed:
        says += f": short by {abs(found - needed):.4g}"
    return _record(rule, metric, found, needed, passed=passed, says=says)


def _record(rule: str, metric: str, found: float | None, needed: float, *, passed: bool, says: str) -> dict[str, Any]:
    short_by = 0.0 if passed else None if found is None else abs(found - needed)
    return {
        "rule": rule,
        "metric": metric,
        "found": found,
        "needed": needed,
        "passed": passed,
        "short_by": short_by,
        "says": says,
    }
