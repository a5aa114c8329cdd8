"""Scores of several models side by side, each with its interval where one was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gristmill.metrics import NOT_FINITE

SHOWN_ROWS = 300
SHOWN_PLOTS = 6
BASELINES = {"word_overlap": "word overlap", "shortest": "shortest answer"}
SAFETY = ("toxic", "safety", "unsafe", "harm", "refus", "winogender")


@dataclass(frozen=True)
class Cell:
    """A value and its 95 % interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        shown = f"{self.value:,.0f}" if self.value == int(self.value) and abs(self.value) >= 10 else f"{self.value:.4f}"
        return shown if self.low is None else f"{shown} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class ScoreRow:
    """One score of all models; a text says why there is no number, None that nobody asked."""

    name: str
    cells: list[Cell | str | None]

    @property
    def is_safety(self) -> bool:
        return any(word in self.name for word in SAFETY)


@dataclass(frozen=True)
class Scores:
    """Columns are models."""

    models: list[str]
    rows: list[ScoreRow]
    left_out: int = 0
    notes: list[str] = field(default_factory=list)
    """What is known of the error of the classifier behind the toxicity scores."""

    @property
    def plots(self) -> list[tuple[str, list[tuple[str, Cell]], dict[str, float]]]:
        """Benchmarks with intervals: name, a cell for each model that has one, what needs no model."""
        found = []
        for row in self.rows:
            cells = zip(self.models, row.cells, strict=True)
            drawn = [(model, cell) for model, cell in cells if isinstance(cell, Cell) and cell.low is not None]
            if row.name.endswith("_accuracy") and drawn:
                found.append((row.name, drawn, self._baselines(row.name.removesuffix("_accuracy"))))
        return found[:SHOWN_PLOTS]

    def _baselines(self, benchmark: str) -> dict[str, float]:
        values = {}
        for name, shown in BASELINES.items():
            row = next((each for each in self.rows if each.name == f"{benchmark}_{name}"), None)
            cell = next((cell for cell in row.cells if isinstance(cell, Cell)), None) if row else None
            if cell:
                values[shown] = cell.value
        return values


def side_by_side(models: Mapping[str, tuple[Mapping[str, float], Mapping[str, object]]]) -> Scores:
    """models: name → its metrics and the details of its report."""
    names = dict.fromkeys(
        name
        for metrics, details in models.values()
        for name in (*metrics, *(name for name, said in details.items() if said == NOT_FINITE))
        if not name.endswith(("_ci_low", "_ci_high"))
    )
    rows = [ScoreRow(name, [_cell(name, *model) for model in models.values()]) for name in names]
    known = (details.get("toxicity_known_error") for _, details in models.values())
    notes = list(dict.fromkeys(str(each) for each in known if each))
    return Scores(list(models), rows[:SHOWN_ROWS], max(0, len(rows) - SHOWN_ROWS), notes)


def _cell(name: str, metrics: Mapping[str, float], details: Mapping[str, object]) -> Cell | str | None:
    if name in metrics:
        return Cell(metrics[name], metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high"))
    return NOT_FINITE if details.get(name) == NOT_FINITE else None
