"""The gate in front of `champion`: recorded numbers in, a verdict out, with every rule's numbers.

A number that is missing or not finite fails its rule. Comparisons pair the items that both models answered, without
those that either may have trained on; of these all p-values are adjusted for each other. Without a champion there is
nothing to be compared with it, and answers to a benchmark that was asked otherwise do not count.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gristmill.evaluate.pairing import Answers, read_answers
from gristmill.evaluate.protocol import HowAsked, asked_differently, read_how_asked
from gristmill.program import RESULT
from gristmill.promotion.config import (
    AtLeast,
    AtMost,
    BetterThanBaseline,
    BetterThanChampion,
    NotWorseThanChampion,
    PromoteConfig,
)
from gristmill.promotion.exposure import Exposure
from gristmill.promotion.paired import Comparison, holm, non_inferiority, superiority, superiority_over_all
from gristmill.report import Report

Compared = BetterThanBaseline | BetterThanChampion | NotWorseThanChampion
BASELINES = ("word_overlap", "shortest")


@dataclass(frozen=True)
class Measured:
    """What was recorded of one model: numbers by name, answers by benchmark and item, how each benchmark was asked."""

    metrics: Mapping[str, float]
    answers: Mapping[str, Answers] = field(default_factory=dict)
    asked: Mapping[str, HowAsked] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether every rule passed. Each of `rules` is JSON: rule, metric, found, needed, passed, short_by, says.

    A comparison has also n, low and high (95 %), p, p_adjusted and left_out (items that do not count).
    """

    passed: bool
    rules: list[dict[str, Any]]


def read_measured(evaluation: Path, extra: Mapping[str, float] | None = None) -> Measured:
    """From the folder of an evaluation; `extra`: more numbers, recorded elsewhere."""
    metrics = Report.model_validate_json((evaluation / RESULT).read_bytes()).metrics
    return Measured({**metrics, **(extra or {})}, read_answers(evaluation), read_how_asked(evaluation))


def judge(
    candidate: Measured, champion: Measured | None, exposure: Mapping[str, Exposure], config: PromoteConfig
) -> Verdict:
    """Apply every rule. exposure: by benchmark, the items that either model may have trained on."""
    compared: dict[str, Comparison] = {}
    refused: dict[str, str] = {}
    for number, rule in enumerate(config.rules):
        if isinstance(rule, AtLeast | AtMost) or (champion is None and not isinstance(rule, BetterThanBaseline)):
            continue
        found = _compare(rule, candidate, champion, exposure, config)
        if isinstance(found, str):
            refused[str(number)] = found
        else:
            compared[str(number)] = found
    # a comparison that could not be made is one of the family all the same: it was meant to be tested
    adjusted = holm({**dict.fromkeys(refused, 1.0), **{number: found.p for number, found in compared.items()}})
    rules = []
    for number, rule in enumerate(config.rules):
        key = str(number)
        if isinstance(rule, AtLeast | AtMost):
            rules.append(_bounded(rule, candidate.metrics.get(rule.metric)))
        elif key in refused:
            says = f"{_named(rule)} cannot be known: {refused[key]}"
            rules.append(_record(rule.rule, _named(rule), None, _needed(rule), passed=False, says=says))
        elif key in compared:
            unused = len(exposure[rule.benchmark].items)
            rules.append(_compared(rule, compared[key], adjusted[key], config.level, unused))
        else:
            says = f"{_named(rule)}: there is no champion yet"
            rules.append(_record(rule.rule, _named(rule), None, _needed(rule), passed=True, says=says))
    return Verdict(all(rule["passed"] for rule in rules), rules)


def _compare(
    rule: Compared,
    candidate: Measured,
    champion: Measured | None,
    exposure: Mapping[str, Exposure],
    config: PromoteConfig,
) -> Comparison | str:
    """The rule's comparison, or why there is none."""
    mine = candidate.answers.get(rule.benchmark, {})
    theirs = champion.answers.get(rule.benchmark, {}) if champion else {}
    against_champion = not isinstance(rule, BetterThanBaseline)
    if champion and against_champion:
        differently = asked_differently(candidate.asked.get(rule.benchmark), champion.asked.get(rule.benchmark))
        if differently:
            return differently
    if against_champion and mine.keys() != theirs.keys():
        shared = len(mine.keys() & theirs.keys())
        return f"the champion answered {len(theirs)} items, this model {len(mine)}; only {shared} are the same"
    exposed = exposure.get(rule.benchmark)
    if exposed is None:
        return "no record says whether these items were kept out of the training text"
    if exposed.unknown:
        return exposed.unknown
    ids = sorted(mine.keys() - exposed.items)
    if len(ids) < config.min_items:
        left_out = len(mine) - len(ids)
        return (
            f"{len(ids)} items count, needed at least {config.min_items}; {left_out} more were answered that a model "
            "may have trained on"
        )
    right = [mine[key]["correct"] for key in ids]
    if against_champion:
        others = [[theirs[key]["correct"] for key in ids]]
    else:
        others = [[mine[key][kind] for key in ids] for kind in BASELINES]
    if not all(math.isfinite(value) for values in (right, *others) for value in values):
        return "an item's score is not finite"
    if isinstance(rule, BetterThanBaseline):
        return superiority_over_all(right, others, seed=config.seed)
    if isinstance(rule, BetterThanChampion):
        return superiority(right, others[0])
    return non_inferiority(right, others[0], margin=rule.margin)


def _compared(rule: Compared, found: Comparison, adjusted: float, level: float, left_out: int) -> dict[str, Any]:
    needed, passed = _needed(rule), adjusted <= level
    says = (
        f"{_named(rule)} is {found.estimate:+.4f} [{found.low:+.4f}, {found.high:+.4f}] on {found.n} items, "
        f"above {needed:g} with p = {found.p:.2g}, adjusted {adjusted:.2g}, needed at most {level:g}"
    )
    if left_out:
        says += f"; {left_out} items left out"
    numbers = {**asdict(found), "p_adjusted": adjusted, "level": level, "left_out": left_out}
    made = _record(rule.rule, _named(rule), numbers.pop("estimate"), needed, passed=passed, says=says)
    return made | numbers | {"short_by": 0.0 if passed else adjusted - level}


def _bounded(rule: AtLeast | AtMost, found: float | None) -> dict[str, Any]:
    relation = "at least" if isinstance(rule, AtLeast) else "at most"
    if found is None or not math.isfinite(found):
        says = f"{rule.metric} was not measured, or is not finite; needed {relation} {rule.value:g}"
        return _record(rule.rule, rule.metric, None, rule.value, passed=False, says=says)
    passed = found >= rule.value if isinstance(rule, AtLeast) else found <= rule.value
    says = f"{rule.metric} is {found:.4g}, needed {relation} {rule.value:g}"
    if not passed:
        says += f": short by {abs(found - rule.value):.4g}"
    return _record(rule.rule, rule.metric, found, rule.value, passed=passed, says=says)


def _named(rule: Compared) -> str:
    return f"{rule.benchmark}_accuracy_minus_{'baseline' if isinstance(rule, BetterThanBaseline) else 'champion'}"


def _needed(rule: Compared) -> float:
    return -rule.margin if isinstance(rule, NotWorseThanChampion) else 0.0


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
