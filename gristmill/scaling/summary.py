"""A fitted ladder as Markdown, for people."""

from collections.abc import Iterable, Sequence

from gristmill.scaling.config import Budget, FlopsBudget, HoursBudget
from gristmill.scaling.prediction import FittedLaw, Optimum, Prediction
from gristmill.scaling.results import RungResult


def summary(
    results: Sequence[RungResult],
    from_smaller: FittedLaw,
    predictions: Sequence[Prediction],
    law: FittedLaw,
    optima: Sequence[Optimum],
) -> str:
    """Tables of rungs, predictions, law and budgets."""
    parts = [_rungs(results, law)]
    if predictions:
        parts += [_law("Law without the held-out depths", from_smaller), _predictions(predictions, results)]
    parts.append(_law("Law of all rungs", law))
    if optima:
        parts.append(_optima(optima, results))
    return "\n\n".join(parts) + "\n"


def persistence_percent(prediction: Prediction, results: Sequence[RungResult]) -> float:
    """The error of predicting no change: the bits of the next smaller depth at the nearest ratio of tokens to
    parameters, in percent of the measured. What a law must beat."""
    rung = prediction.rung
    below = max(each.depth for each in results if each.depth < rung.depth)
    ratio = rung.tokens / rung.parameters
    near = min(
        (each for each in results if each.depth == below), key=lambda each: abs(each.tokens / each.parameters - ratio)
    )
    return 100 * (near.bits / rung.bits - 1)


def says(budget: Budget) -> str:
    """A budget in words."""
    if isinstance(budget, FlopsBudget):
        return f"{budget.flops:.2g} FLOPs"
    if isinstance(budget, HoursBudget):
        return f"{budget.hours:g} hours"
    return f"{budget.money:g} at {budget.price_per_hour:g} an hour"


def _rungs(results: Sequence[RungResult], law: FittedLaw) -> str:
    rows = [
        [
            rung.name,
            rung.width,
            f"{rung.parameters:,}",
            f"{rung.tokens:,}",
            f"{rung.epochs:.2f}",
            f"{rung.flops:.2e}",
            f"{rung.speed:,.0f}",
            f"{rung.bits:.4f}",
            f"{100 * (float(law.law.bits(rung.parameters, rung.tokens)) / rung.bits - 1):+.2f} %",
        ]
        for rung in results
    ]
    head = ["rung", "width", "parameters", "tokens", "epochs", "FLOPs", "tokens/s", "bits per byte", "law of all rungs"]
    return _table(head, rows)


def _predictions(predictions: Sequence[Prediction], results: Sequence[RungResult]) -> str:
    rows = [
        [
            each.rung.name,
            f"{each.rung.bits:.4f}",
            f"{each.bits:.4f} [{each.low:.4f}, {each.high:.4f}]",
            f"{each.error_percent:+.2f} %",
            f"{persistence_percent(each, results):+.2f} %",
        ]
        for each in predictions
    ]
    return _table(["held out", "measured", "predicted [95 %]", "error", "error of `no change`"], rows)


def _law(title: str, fitted: FittedLaw) -> str:
    bounds = fitted.intervals()
    rows = [
        [name, f"{getattr(fitted.law, name):.4g}", f"[{low:.4g}, {high:.4g}]"] for name, (low, high) in bounds.items()
    ]
    return f"{title}: E + A / N^alpha + B / D^beta\n\n" + _table(["", "value", "95 % interval"], rows)


def _optima(optima: Sequence[Optimum], results: Sequence[RungResult]) -> str:
    most = max(rung.flops for rung in results)
    rows = [
        [
            says(each.budget),
            f"{each.flops:.2e} ({each.flops / most:,.1f} × the largest rung)",
            f"{each.parameters:,.0f} [{each.parameters_low:,.0f}, {each.parameters_high:,.0f}]",
            f"{each.tokens:,.0f} ({each.tokens / each.parameters:,.1f} a parameter)",
            f"{each.bits:.3f} [{each.bits_low:.3f}, {each.bits_high:.3f}]",
            f"{each.depth} ({each.depth_parameters:,} parameters, {each.depth_tokens:,} tokens)",
        ]
        for each in optima
    ]
    head = ["budget", "FLOPs", "parameters [95 %]", "tokens", "bits per byte [95 %]", "depth of the dial"]
    ratios = sorted(rung.tokens / rung.parameters for rung in results)
    known = (
        f"The ladder has {ratios[0]:.2f} to {ratios[-1]:.2f} tokens a parameter and at most {most:.2e} FLOPs; an "
        "answer outside of that is an extrapolation, and its interval knows nothing of how the law may bend there."
    )
    return _table(head, rows) + "\n\n" + known


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
