"""The `ablation` stage: from the bits of every trial to a table and a plain verdict.

Writes table.md, verdict.txt and comparisons.json. A trial is a recipe with a seed, named `clean-s0`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.ablation.comparison import Difference, bits_per_byte, paired_difference
from gristmill.ablation.config import AblationConfig
from gristmill.ablation.text_bits import DOCUMENTS
from gristmill.report import Report
from gristmill.train.comparable import check_one_precision


@dataclass(frozen=True)
class Measured:
    """One set of documents under all trials. bits: recipe → [seeds, documents]; bytes: [documents]."""

    name: str
    bits: dict[str, NDArray[np.float64]]
    bytes: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A recipe against the baseline on one set."""

    recipe: str
    set: str
    difference: Difference


def run_ablation(trials: Mapping[str, Path], out: Path, config: AblationConfig) -> Report:
    """Compare every recipe with the baseline on every set. trials: folders of `text_bits` by `recipe-sSEED`.

    Raises ValueError when trials were not trained on equally many tokens and steps in one precision, or measured on
    other documents.
    """
    training = _training(trials)
    measured = list(_measured(trials))
    recipes = [recipe for recipe in measured[0].bits if recipe != config.baseline]
    together = len(recipes) * len(measured)
    each = 1 - (1 - config.confidence) / together
    compared = [
        Comparison(
            recipe, one.name, paired_difference(one.bits[recipe], one.bits[config.baseline], one.bytes, confidence=each)
        )
        for recipe in recipes
        for one in measured
    ]
    said = verdict(compared, config)
    (out / "verdict.txt").write_text(said + "\n")
    (out / "table.md").write_text(table(measured, compared, config) + "\n\n" + said + "\n")
    details = {
        "verdict": said,
        "comparisons": [asdict(one) | {"verdict": one.difference.verdict} for one in compared],
        "confidence_of_each": each,
        "training": training,
    }
    (out / "comparisons.json").write_text(json.dumps(details, indent=2) + "\n")
    return Report(
        rows_in=len(trials), rows_out=together, unit="trials", metrics=_metrics(measured, compared), details=details
    )


def table(measured: list[Measured], compared: list[Comparison], config: AblationConfig) -> str:
    """Markdown: a row a set and recipe, with bits per byte of all seeds and the difference to the baseline."""
    head = ["set", "documents", "recipe", "bits per byte (each seed)", "mean", f"minus {config.baseline}", "verdict"]
    found = {(one.recipe, one.set): one.difference for one in compared}
    lines = [head, ["---"] * len(head)]
    for one in measured:
        for recipe, bits in one.bits.items():
            by_seed = bits_per_byte(bits, one.bytes)
            seeds, mean = " ".join(f"{value:.4f}" for value in by_seed), f"{by_seed.mean():.4f}"
            difference = found.get((recipe, one.name))
            told = [_interval(difference), difference.verdict] if difference else ["", "baseline"]
            lines.append([one.name, str(len(one.bytes)), recipe, seeds, mean, *told])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(compared: list[Comparison], config: AblationConfig) -> str:
    """A sentence a recipe, and one about the intervals."""
    sentences = []
    for recipe in dict.fromkeys(one.recipe for one in compared):
        mine = [one for one in compared if one.recipe == recipe]
        parts = []
        for kind in ("better", "worse", "no difference shown"):
            sets = [f"{one.set} {_interval(one.difference)}" for one in mine if one.difference.verdict == kind]
            if sets:
                parts.append(f"{kind} on {len(sets)} of {len(mine)} sets: {', '.join(sets)}")
        sentences.append(f"{recipe} against {config.baseline}, bits per byte: {'; '.join(parts)}.")
    count = len(compared)
    shared = (
        f"The intervals hold together at {config.confidence:.0%}: {count} comparisons, each at "
        f"{1 - (1 - config.confidence) / count:.1%} (Bonferroni)."
    )
    return " ".join([*sentences, shared])


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _training(trials: Mapping[str, Path]) -> dict[str, Any]:
    """Tokens, steps, epochs and precision of each trial."""
    found = {
        name: Report.model_validate_json((folder / "report.json").read_bytes()).details["training"]
        for name, folder in trials.items()
    }
    steps = {name: facts["steps"] for name, facts in found.items()}
    if len(set(steps.values())) > 1:
        raise ValueError(
            f"ablation: the trials were trained for different numbers of steps, {steps}; compare like with like"
        )
    check_one_precision("ablation", {name: facts.get("precision") for name, facts in found.items()})
    return found


def _measured(trials: Mapping[str, Path]) -> Iterator[Measured]:
    """The sets in the order they were measured in."""
    rows = {name: pq.read_table(folder / DOCUMENTS).to_pylist() for name, folder in trials.items()}
    documents = {name: [(row["set"], row["document"], row["bytes"]) for row in found] for name, found in rows.items()}
    first = next(iter(trials))
    for name in trials:
        if documents[name] != documents[first]:
            raise ValueError(f"ablation: {name} and {first} were measured on different documents; measure them alike")
    recipes = dict.fromkeys(name.rpartition("-s")[0] for name in trials)
    for measured_set in dict.fromkeys(row["set"] for row in rows[first]):
        bits = {
            recipe: np.array(
                [
                    [row["bits"] for row in found if row["set"] == measured_set]
                    for name, found in rows.items()
                    if name.rpartition("-s")[0] == recipe
                ]
            )
            for recipe in recipes
        }
        sizes = np.array([row["bytes"] for row in rows[first] if row["set"] == measured_set], np.float64)
        yield Measured(measured_set, bits, sizes)


def _metrics(measured: list[Measured], compared: list[Comparison]) -> dict[str, float]:
    metrics = {
        f"{one.name}_bits_per_byte_{recipe}": float(bits_per_byte(bits, one.bytes).mean())
        for one in measured
        for recipe, bits in one.bits.items()
    }
    for one in compared:
        name = f"{one.set}_{one.recipe}_minus_baseline"
        found = one.difference
        metrics |= {name: found.mean, f"{name}_ci_low": found.low, f"{name}_ci_high": found.high}
    return metrics
