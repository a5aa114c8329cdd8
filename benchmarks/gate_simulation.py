"""How often the gate is wrong, and how often it sees a difference that is there: simulated models, the real gate.

    python benchmarks/gate_simulation.py [--repetitions 1000] [--items 2500] [--table] [--json]

Two models answer the same items. An item is right with a probability of its own, drawn from a Beta distribution, for
both models; each answers by a coin of its own. The distribution's spread sets `discordance`, the share of items on
which two equal models differ. A better model turns a share of what would be wrong into right. Every repetition goes
through `gristmill.promotion.gate.judge` with its default level, and nothing is computed from a formula.

`false_promotions`: share of repetitions in which an equal model was promoted; at most `level` + 2 standard errors.
`power`: share in which one that is right more often by `difference` was.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence

import numpy as np

from gristmill.promotion.config import BetterThanChampion, NotWorseThanChampion, PromoteConfig, Rule
from gristmill.promotion.exposure import Exposure
from gristmill.promotion.gate import Measured, Verdict, judge

BENCHMARKS = ("docs_choice", "piqa", "copa", "wsc")
MARGIN = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--items", type=int, default=2500)
    parser.add_argument("--difference", type=float, default=0.03)
    parser.add_argument("--discordance", type=float, default=0.2)
    parser.add_argument("--table", action="store_true", help="also by items and discordance")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    started = time.process_time()
    repetitions, n, difference = arguments.repetitions, arguments.items, arguments.difference
    rng = np.random.default_rng(0)

    def share(rules: Sequence[Rule], by: float, *, items: int = n, spread: float = arguments.discordance) -> float:
        verdicts = [simulated(rng, rules, items=items, by=by, discordance=spread) for _ in range(repetitions)]
        return sum(verdict.passed for verdict in verdicts) / repetitions

    better: list[Rule] = [BetterThanChampion()]
    level = PromoteConfig(rules=better).level
    several: list[Rule] = [BetterThanChampion(benchmark=name) for name in BENCHMARKS]
    families = [simulated(rng, several, items=n, by=0.0, discordance=arguments.discordance) for _ in range(repetitions)]
    ticks = [any(rule["passed"] for rule in family.rules) for family in families]
    result = {
        "repetitions": repetitions,
        "level": level,
        "allowed": level + 2 * math.sqrt(level * (1 - level) / repetitions),
        "n": n,
        "discordance": arguments.discordance,
        "difference": difference,
        "false_promotions": share(better, 0.0),
        "power": share(better, difference),
        "worse_promoted": share(better, -difference),
        "not_finite_promoted": not_finite_promoted(rng, n, difference, arguments.discordance, repetitions),
        "any_of_four_rules_falsely_passed": sum(ticks) / repetitions,
        "worse_by_the_margin_passed": share([NotWorseThanChampion(margin=MARGIN)], -MARGIN),
        "equal_passed_as_not_worse": share([NotWorseThanChampion(margin=MARGIN)], 0.0),
        "by_items": [
            {
                "n": items,
                "discordance": spread,
                "false_promotions": share(better, 0.0, items=items, spread=spread),
                "power": share(better, difference, items=items, spread=spread),
            }
            for spread in (0.12, 0.2, 0.3)
            for items in (200, 500, 1064, 2000, 2500)
            if arguments.table
        ],
        "cpu_s": 0.0,
    }
    result["cpu_s"] = round(time.process_time() - started, 1)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name:34} {line}")


def simulated(rng: np.random.Generator, rules: Sequence[Rule], *, items: int, by: float, discordance: float) -> Verdict:
    """The gate's verdict on a challenger that is right more often by `by` than the champion, on new items."""
    names = sorted({rule.benchmark for rule in rules if isinstance(rule, BetterThanChampion | NotWorseThanChampion)})
    answered = {name: answers(rng, items, by, discordance) for name in names}
    challenger, champion = (measured({name: both[side] for name, both in answered.items()}) for side in (0, 1))
    return judge(challenger, champion, dict.fromkeys(names, Exposure()), PromoteConfig(rules=list(rules)))


def answers(rng: np.random.Generator, items: int, by: float, discordance: float) -> tuple[np.ndarray, np.ndarray]:
    """Challenger's and champion's answers, 0 or 1. [items] each.

    Of a Beta(a, a) the mean of 2p(1 − p) is a / (2a + 1), which gives `a` for two equal models' discordance.
    """
    a = discordance / (1 - 2 * discordance)
    right = rng.beta(a, a, items)
    change = 2 * abs(by)  # the mean of p is 1/2, so of what is wrong (or right) this share turns
    changed = right + (1 - right) * change if by > 0 else right * (1 - change)
    return (rng.random(items) < changed).astype(float), (rng.random(items) < right).astype(float)


def measured(right: dict[str, np.ndarray]) -> Measured:
    answered = {name: {str(i): {"correct": value} for i, value in enumerate(r)} for name, r in right.items()}
    return Measured({}, answered, {name: {"chat": True} for name in right})


def not_finite_promoted(rng: np.random.Generator, items: int, by: float, discordance: float, repetitions: int) -> float:
    """Share promoted of better models of which one item's score is not a number."""
    promoted, config = 0, PromoteConfig(rules=[BetterThanChampion()])
    for _ in range(repetitions):
        challenger, champion = answers(rng, items, by, discordance)
        challenger[rng.integers(items)] = np.nan
        models = [measured({"docs_choice": right}) for right in (challenger, champion)]
        promoted += judge(models[0], models[1], {"docs_choice": Exposure()}, config).passed
    return promoted / repetitions


if __name__ == "__main__":
    main()
