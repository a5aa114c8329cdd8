"""A data report as one HTML file (gristmill/html/shell.py). Every number in a chart also stands in a table or in its
description.
"""

from pathlib import Path
from typing import Any

from gristmill.data_report.facts import Facts
from gristmill.data_report.histograms import Histogram
from gristmill.data_report.samples import OPT_OUT
from gristmill.html.shell import render_page, write_whole
from gristmill.html.shown import number

TEMPLATE = Path(__file__).parent / "page.html.j2"
WIDTH, HALF, AXIS = 400.0, 44.0, 16.0


def write_page(facts: Facts, path: Path) -> None:
    """Write the report; a reader of `path` never sees half a file."""
    write_whole(path, render(facts))


def render(facts: Facts) -> str:
    """The report's HTML."""
    return render_page(TEMPLATE, facts=facts, draw=draw, opted_out=_opted_out(facts))


def draw(histogram: Histogram) -> dict[str, Any]:
    """Rectangles and lines of a mirrored histogram in a box of WIDTH × 2 HALF: kept upwards, dropped downwards.

    Heights are square roots of counts, so that a tenth of the pages still shows beside the peak.
    """
    low, high = histogram.edges[0], histogram.edges[-1]
    peak = max([1, *histogram.kept, *histogram.dropped])
    step = WIDTH / len(histogram.kept)
    bars = []
    for kind, counts in (("kept", histogram.kept), ("dropped", histogram.dropped)):
        for place, count in enumerate(counts):
            if count:
                height = max(1.0, HALF * (count / peak) ** 0.5)
                y = HALF - height if kind == "kept" else HALF
                bar = {"x": place * step, "y": y, "width": max(step - 1, 1), "height": height}
                bars.append({name: round(value, 2) for name, value in bar.items()} | {"kind": kind})
    lines = [
        {"x": round(WIDTH * (line.value - low) / (high - low), 2), "label": _threshold(line)}
        for line in histogram.lines
        if low <= line.value <= high
    ]
    return {
        "bars": bars,
        "lines": lines,
        "ticks": [_tick(histogram, place) for place in (0, 0.5, 1)],
        "far": [_threshold(line) for line in histogram.lines if not low <= line.value <= high],
        "kept": sum(histogram.kept),
        "dropped": sum(histogram.dropped),
        "peak": peak,
    }


def _threshold(line: Any) -> str:
    languages = f" ({', '.join(line.languages)})" if line.languages else ""
    return f"{'at least' if line.rule.startswith('min_') else 'at most'} {number(line.value)}{languages}"


def _tick(histogram: Histogram, place: float) -> dict[str, Any]:
    value = histogram.edges[0] + place * (histogram.edges[-1] - histogram.edges[0])
    shown = 10**value if histogram.logarithmic else value
    anchor = {0: "start", 0.5: "middle", 1: "end"}[place]
    label = f"{shown:,.0f}" if histogram.logarithmic else number(shown)
    return {"x": WIDTH * place, "label": label, "anchor": anchor}


def _opted_out(facts: Facts) -> list[str]:
    return [drop.rule for drop in facts.drops if drop.rule.startswith(OPT_OUT)]
