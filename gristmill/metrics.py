"""`metrics.jsonl`: what a training program measured, one JSON object a line, `{"step": 12, "loss": 3.1, …}`.

A reader may follow the file while it grows. A program that resumes drops the rows its lost steps had written.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NOT_FINITE = "not finite"


class StepLog:
    """Appends rows to a JSON-lines file; rows after `last_step` (of a run that was killed later) are dropped first."""

    def __init__(self, path: Path, *, last_step: int = 0, again: str | None = None) -> None:
        """again: what will be measured at `last_step`; a row of a run killed after it had measured that is dropped."""
        kept = [row for row in read_metrics(path) if row["step"] <= last_step] if last_step else []
        kept = [row for row in kept if row["step"] < last_step or again not in row]
        rewritten = path.with_name(path.name + ".tmp")
        rewritten.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
        rewritten.rename(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row."""
        self._file.write(json.dumps({"step": step, **values}, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


class MetricsWriter(StepLog):
    """Appends numbers to a metrics file."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row. NaN and infinities, which JSON cannot say, are written as the string "not finite"."""
        self.append(step, {name: value if math.isfinite(value) else NOT_FINITE for name, value in values.items()})


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, oldest first; none when it is absent. A last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]
