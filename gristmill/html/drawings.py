"""Curves and intervals as SVG: sizes for a template, in the units of a box 400 wide. No script, no style attribute.

Every number that is drawn also stands in a table, in its caption or in its description.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gristmill.html.shown import number

WIDTH, HEIGHT, LEFT = 400.0, 150.0, 44.0
ROW, TOP = 34.0, 8.0


class Point(Protocol):
    """Neighbouring values of a curve."""

    @property
    def step(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def curves(series: Sequence[Sequence[Point]]) -> dict[str, Any]:
    """Polylines of means over bands from low to high, and where the axes' ends are. All empty: nothing is drawn."""
    points = [point for each in series for point in each]
    if not points:
        return {"lines": [], "bands": [], "dots": [], "low": "", "high": "", "first": "", "last": ""}
    x_low, x_high = min(point.step for point in points), max(point.step for point in points)
    low, high = min(point.low for point in points), max(point.high for point in points)

    def at(step: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT) * (step - x_low) / ((x_high - x_low) or 1)
        y = 4 + (HEIGHT - 8) * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f},{y:.1f}"

    bands = []
    for each in series:
        wide = any(point.low < point.high for point in each)
        edge = [at(point.step, point.high) for point in each] + [at(point.step, point.low) for point in reversed(each)]
        bands.append(" ".join(edge) if wide else "")
    lines = [" ".join(at(point.step, point.mean) for point in each) for each in series]
    few = [[at(point.step, point.mean).split(",") for point in each] if len(each) <= 20 else [] for each in series]
    ends = {"low": number(low), "high": number(high), "first": f"{x_low:,}", "last": f"{x_high:,}"}
    return {"lines": lines, "bands": bands, "dots": few, **ends}


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None]], marks: Mapping[str, float]
) -> dict[str, Any]:
    """One line a row: a dot at the value, a whisker from low to high, the label above; dashed lines at `marks`."""
    ends = [end for _, *values in rows for end in values if end is not None]
    low, high = min([*ends, *marks.values()]), max([*ends, *marks.values()])
    pad = 0.06 * ((high - low) or abs(high) or 1)
    low, high = low - pad, high + pad

    def at(value: float) -> float:
        return round(WIDTH * (value - low) / (high - low), 1)

    drawn = [
        {
            "label": label,
            "y": TOP + ROW * place + 22,
            "x": at(value),
            "from": None if start is None else at(start),
            "to": None if end is None else at(end),
        }
        for place, (label, value, start, end) in enumerate(rows)
    ]
    height = TOP + ROW * len(rows) + 4
    lines = [{"x": at(value), "label": name} for name, value in marks.items()]
    return {"rows": drawn, "marks": lines, "height": height, "low": number(low), "high": number(high)}
