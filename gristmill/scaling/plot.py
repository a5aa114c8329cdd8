"""The plot of a ladder: bits per byte against tokens, a line a depth, what was held out, and the frontier."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gristmill.scaling.prediction import FittedLaw, Prediction
from gristmill.scaling.results import RungResult


def draw(
    results: Sequence[RungResult],
    from_smaller: FittedLaw,
    predictions: Sequence[Prediction],
    law: FittedLaw,
    out: Path,
) -> None:
    """Write scaling.svg and scaling.png. Left: bits against tokens by depth, the curves of the law that saw only the
    smaller depths. Right: bits against operations, with the frontier of the law of all rungs."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    by_tokens, by_flops = figure.subplots(1, 2, sharey=True)
    held_out = {prediction.rung.name for prediction in predictions}
    depths = sorted({rung.depth for rung in results})
    for place, depth in enumerate(depths):
        rungs = [rung for rung in results if rung.depth == depth]
        color = _COLORS[place % len(_COLORS)]
        label = f"depth {depth}, {rungs[0].parameters / 1000:,.0f} k parameters"
        tokens = np.geomspace(min(rung.tokens for rung in rungs) / 1.3, max(rung.tokens for rung in rungs) * 1.3)
        unseen = rungs[0].name in held_out
        by_tokens.plot(
            tokens, from_smaller.law.bits(rungs[0].parameters, tokens), color=color, linestyle="--" if unseen else "-"
        )
        for axes, x in ((by_tokens, "tokens"), (by_flops, "flops")):
            axes.plot(
                [getattr(rung, x) for rung in rungs],
                [rung.bits for rung in rungs],
                color=color,
                marker="D" if unseen else "o",
                markerfacecolor="white" if unseen else color,
                linestyle="none",
                label=f"{label} (held out)" if unseen else label,
            )
    for prediction in predictions:
        by_tokens.plot([prediction.rung.tokens] * 2, [prediction.low, prediction.high], color="black", linewidth=1)
    flops = np.geomspace(min(rung.flops for rung in results), max(rung.flops for rung in results) * 3)
    best = [float(law.law.bits(*law.law.optimum(each))) for each in flops]
    by_flops.plot(flops, best, color="black", linestyle=":", label="best by the law of all rungs")
    by_tokens.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="validation bits per byte")
    by_flops.set(xscale="log", xlabel="training FLOPs")
    by_tokens.yaxis.set_major_locator(MaxNLocator(8))
    by_tokens.yaxis.set_major_formatter(ScalarFormatter())
    by_tokens.yaxis.set_minor_locator(NullLocator())
    by_tokens.xaxis.set_minor_formatter(NullFormatter())
    by_flops.legend(fontsize=8, frameon=False)
    by_tokens.set_title("law of the smaller depths, and its prediction", fontsize=10)
    by_flops.set_title("cost", fontsize=10)
    with rc_context({"svg.hashsalt": "scaling"}):  # and no date: the same numbers give the same file
        figure.savefig(out / "scaling.svg", metadata={"Date": None})
    figure.savefig(out / "scaling.png", dpi=150)


_COLORS = (
    "#4477aa",
    "#66ccee",
    "#228833",
    "#ccbb44",
    "#ee6677",
    "#aa3377",
    "#bbbbbb",
)  # Tol's bright, told apart by all
