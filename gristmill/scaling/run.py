"""The `scaling` stage: from trained rungs to a law, its error on held-out models, and the best model for a budget.

Writes law.json (all numbers), rungs.parquet (a row a rung), summary.md and the plot as SVG and PNG.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.model.config import ModelConfig
from gristmill.report import Report
from gristmill.scaling.config import ScalingConfig
from gristmill.scaling.plot import draw
from gristmill.scaling.prediction import FittedLaw, Optimum, Prediction, best_for, fit
from gristmill.scaling.results import RungResult, read_results
from gristmill.scaling.summary import persistence_percent, summary


def run_scaling(rungs: Mapping[str, Path], out: Path, *, model: ModelConfig, config: ScalingConfig) -> Report:
    """Fit, predict what was held out, answer the budgets. rungs: checkpoint folders by the rung's name."""
    results = read_results(rungs)
    largest = held_out_depths(results, config)
    fitted_rungs = [rung for rung in results if rung.depth not in largest]
    held_out = [rung for rung in results if rung.depth in largest]
    from_smaller = fit(fitted_rungs, config)
    predictions = [from_smaller.predict(rung, seed=config.seed) for rung in held_out]
    law = fit(results, config) if held_out else from_smaller
    optima = [best_for(budget, law, results[-1], model, config) for budget in config.budgets]
    pq.write_table(pa.Table.from_pylist([asdict(rung) for rung in results]), out / "rungs.parquet")
    found = _as_json(law, from_smaller, predictions, optima)
    (out / "law.json").write_text(json.dumps(found, indent=2) + "\n")
    (out / "summary.md").write_text(summary(results, from_smaller, predictions, law, optima))
    draw(results, from_smaller, predictions, law, out)
    return Report(
        rows_in=len(results),
        rows_out=len(fitted_rungs),
        unit="rungs",
        metrics=_metrics(law, predictions, results),
        details=found,
    )


def held_out_depths(results: list[RungResult], config: ScalingConfig) -> set[int]:
    """The largest depths, which are predicted and not fitted."""
    depths = sorted({rung.depth for rung in results})
    return set(depths[len(depths) - config.hold_out :])


def _metrics(law: FittedLaw, predictions: list[Prediction], results: list[RungResult]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in asdict(law.law).items()} | {
        "training_flops": sum(rung.flops for rung in results),
        "training_s": sum(rung.tokens / rung.speed for rung in results),
    }
    if predictions:
        numbers["held_out_error_percent"] = max(abs(each.error_percent) for each in predictions)
        numbers["held_out_no_change_error_percent"] = max(
            abs(persistence_percent(each, results)) for each in predictions
        )
    return numbers


def _as_json(
    law: FittedLaw, from_smaller: FittedLaw, predictions: list[Prediction], optima: list[Optimum]
) -> dict[str, Any]:
    return {
        "law": asdict(law.law) | {"intervals": law.intervals()},
        "law_without_held_out": asdict(from_smaller.law) | {"intervals": from_smaller.intervals()},
        "held_out": [
            {
                "rung": each.rung.name,
                "measured": each.rung.bits,
                "predicted": each.bits,
                "interval": [each.low, each.high],
                "error_percent": each.error_percent,
            }
            for each in predictions
        ],
        "budgets": [asdict(each) | {"budget": each.budget.model_dump(mode="json")} for each in optima],
    }
