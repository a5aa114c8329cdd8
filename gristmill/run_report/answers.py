"""What models answered to the same prompts, and on which items two of them differ."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gristmill.evaluate.pairing import read_answers
from gristmill.evaluate.protocol import asked_differently, read_how_asked
from gristmill.promotion.paired import gains_and_losses, superiority
from gristmill.run_report.verdict import Compared

SHOWN_PROMPTS = 12
SHOWN_CHARS = 1200


@dataclass(frozen=True)
class Asked:
    """One prompt and its answers by model; a long one is cut."""

    prompt: str
    answers: dict[str, str]


@dataclass(frozen=True)
class Incomparable:
    """A benchmark whose answers are not paired, since the two models were not asked alike."""

    benchmark: str
    why: str


@dataclass(frozen=True)
class Disagreement:
    """Items of a benchmark that only one of two models answered rightly, among all that both were asked."""

    benchmark: str
    only_first: int
    only_second: int
    n: int
    difference: Compared
    """First minus second."""
    left_out: int = 0
    """Items that one may have trained on, or whose score is not finite; they are in none of the numbers."""


def read_asked(samples: Mapping[str, Path]) -> list[Asked]:
    """samples: model → its samples.jsonl. Prompts in the order in which they come first."""
    found: dict[str, dict[str, str]] = {}
    for model, path in samples.items():
        with path.open(encoding="utf-8") as file:
            for _, line in zip(range(SHOWN_PROMPTS), file, strict=False):
                row = json.loads(line)
                found.setdefault(row["prompt"], {})[model] = _cut(row["answer"])
    return [Asked(_cut(prompt), answers) for prompt, answers in list(found.items())[:SHOWN_PROMPTS]]


def disagreements(
    first: Path, second: Path, *, against: str, exposed: Mapping[str, frozenset[str]] | None = None
) -> tuple[list[Disagreement], list[Incomparable]]:
    """Benchmarks that two evaluations have in common, on the items that both have, by the gate's statistics: what a
    model left to a die counts against the first. And those that were not asked alike.

    against: how to call the second model. exposed: by benchmark, items that do not count.
    """
    mine, theirs = read_answers(first), read_answers(second)
    asked, asked_other = read_how_asked(first), read_how_asked(second)
    found, refused = [], []
    for benchmark in mine:
        shared = mine[benchmark].keys() & theirs.get(benchmark, {}).keys()
        why = asked_differently(asked.get(benchmark), asked_other.get(benchmark), own_formats=True)
        if shared and why:
            refused.append(Incomparable(benchmark, why))
            continue
        ids = [
            key
            for key in sorted(shared - (exposed or {}).get(benchmark, frozenset()))
            if math.isfinite(mine[benchmark][key]["correct"] + theirs[benchmark][key]["correct"])
        ]
        if len(ids) < 2:
            continue
        right = [mine[benchmark][key]["correct"] for key in ids]
        other = [theirs[benchmark][key]["correct"] for key in ids]
        gains, losses, n = gains_and_losses(right, other)
        measured = superiority(right, other)
        compared = Compared(f"{benchmark}_accuracy", against, measured.estimate, measured.low, measured.high, n)
        found.append(Disagreement(benchmark, gains, losses, n, compared, len(shared) - len(ids)))
    return found, refused


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + " …"
