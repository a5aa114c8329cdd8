"""What training logged, as few enough points to draw: mean, lowest and highest of neighbouring steps."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

SHOWN_POINTS = 240
READ_ROWS = 20_000
VALIDATION = b'"bits_per_byte"'

# title → logged name → how to call it; the first one found of the first two is enough
PANELS = {
    "bits per byte": {"train_bits_per_byte": "training", "bits_per_byte": "validation"},
    "loss": {"loss": "training"},
    "share of pairs told apart": {"reward_accuracy": "training", "pair_accuracy": "training"},
    "reward": {"reward": "training"},
    "KL divergence to the reference": {"kl": "training"},
}


@dataclass(frozen=True)
class Point:
    """Neighbouring steps."""

    step: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """One logged number. not_finite: rows whose value was NaN or infinite; they are not drawn."""

    name: str
    points: list[Point]
    not_finite: int = 0


@dataclass(frozen=True)
class Panel:
    """What is drawn into one frame."""

    stage: str
    title: str
    series: list[Series]


def read_panels(stage: str, metrics: Path) -> list[Panel]:
    """The panels of one training stage; none where it logged nothing that has one."""
    rows = list(_rows(metrics))
    panels = []
    for title, names in PANELS.items():
        if title == "loss" and panels:
            continue  # the same in another unit
        series = [_series(shown, name, rows) for name, shown in names.items()]
        drawn = [each for each in series if each.points or each.not_finite]
        if any(len(each.points) > 1 or each.not_finite for each in drawn):
            panels.append(Panel(stage, title, drawn))
    return panels


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Of a long file every k-th row, and all that have a validation score: a report takes seconds, not minutes."""
    with path.open("rb") as file:
        first = file.readline()
        stride = max(1, path.stat().st_size // max(1, len(first) * READ_ROWS))
        for place, line in enumerate(chain([first], file)):
            if place % stride == 0 or VALIDATION in line:
                with suppress(ValueError):  # cut off by a kill
                    yield json.loads(line)


def _series(shown: str, name: str, rows: list[dict[str, Any]]) -> Series:
    logged = [(int(row["step"]), row[name]) for row in rows if name in row]
    values = [(step, float(value)) for step, value in logged if isinstance(value, int | float)]
    size = max(1, -(-len(values) // SHOWN_POINTS))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    return Series(shown, [_point(group) for group in groups], len(logged) - len(values))


def _point(group: list[tuple[int, float]]) -> Point:
    values = [value for _, value in group]
    return Point(group[-1][0], sum(values) / len(values), min(values), max(values))
