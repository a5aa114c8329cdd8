"""Accuracy against what was spent on an answer: samples on the left, generated tokens on the right."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.test_time.run import Point

_STYLES = {
    "any": ("any is right", "#bbbbbb", "s"),
    "majority": ("majority", "#4477aa", "o"),
    "reward_model": ("best by the reward model", "#228833", "^"),
    "thinking": ("one answer behind a thought", "#ee6677", "D"),
}


def draw(points: "Sequence[Point]", out: Path) -> None:
    """Write test_time.svg and test_time.png, with 95 % intervals."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    by_samples, by_tokens = figure.subplots(1, 2, sharey=True)
    for method, (label, color, marker) in _STYLES.items():
        curve = [point for point in points if point.method == method]
        if not curve:
            continue
        accuracy = [point.accuracy for point in curve]
        around = [
            [max(0.0, point.accuracy - point.low) for point in curve],
            [max(0.0, point.high - point.accuracy) for point in curve],
        ]
        panels = [(by_tokens, [point.tokens for point in curve])]
        if method != "thinking":
            panels.append((by_samples, [float(point.spent) for point in curve]))
        for axes, x in panels:
            axes.errorbar(x, accuracy, yerr=around, color=color, marker=marker, capsize=2, linewidth=1, label=label)
    by_samples.set(xscale="log", xlabel="answers to choose from", ylabel="share of prompts answered right")
    spent = sorted({point.spent for point in points if point.method != "thinking"})
    by_samples.set_xticks(spent, [str(each) for each in spent], minor=False)
    by_samples.minorticks_off()
    by_tokens.set_xscale("log", base=2)
    by_tokens.set_xlabel("tokens generated for a prompt")
    by_tokens.xaxis.set_major_formatter(ScalarFormatter())
    by_tokens.minorticks_off()
    by_tokens.legend(fontsize=8, frameon=False)
    with rc_context({"svg.hashsalt": "test_time"}):  # and no date: the same numbers give the same file
        figure.savefig(out / "test_time.svg", metadata={"Date": None})
    figure.savefig(out / "test_time.png", dpi=150)
