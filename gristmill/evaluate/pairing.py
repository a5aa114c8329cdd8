"""Two evaluations on the same items, item by item."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.evaluate.statistics import Interval, paired_difference

ITEMS = "items.parquet"
ITEM_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("id", pa.string()),
        ("row", pa.int32()),  # number of its line in the benchmark's file; null for items of `examples` and of the hub
        ("scores", pa.list_(pa.float64())),  # one for each choice, as the benchmark's `score` says
        ("chosen", pa.int32()),
        ("answer", pa.int32()),
        ("correct", pa.float64()),  # chance of being right, ties broken by a fair die
        ("word_overlap", pa.float64()),  # the same for the baselines
        ("shortest", pa.float64()),
    ]
)


def write_items(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), ITEM_SCHEMA), folder / ITEMS, compression="zstd")


Answers = Mapping[str, Mapping[str, float]]
"""Item id → `correct`, `word_overlap` and `shortest`, as in items.parquet."""


def read_answers(folder: Path) -> dict[str, Answers]:
    """Benchmark → its answers; empty when the evaluation has no items."""
    if not (folder / ITEMS).is_file():
        return {}
    columns = ["benchmark", "id", "correct", "word_overlap", "shortest"]
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for row in pq.read_table(folder / ITEMS, columns=columns).to_pylist():
        found.setdefault(row.pop("benchmark"), {})[row.pop("id")] = {
            kind: math.nan if value is None else value for kind, value in row.items()
        }
    return dict(found)


def read_rows(folder: Path) -> dict[str, dict[str, int | None]]:
    """Benchmark → item id → `row`, as in items.parquet; empty when the evaluation has no items."""
    if not (folder / ITEMS).is_file():
        return {}
    found: dict[str, dict[str, int | None]] = {}
    for item in pq.read_table(folder / ITEMS, columns=["benchmark", "id", "row"]).to_pylist():
        found.setdefault(item["benchmark"], {})[item["id"]] = item["row"]
    return found


def read_correct(folder: Path, benchmark: str) -> dict[str, float]:
    """Item id → chance of being right; empty when the evaluation has no such benchmark, or no items."""
    if not (folder / ITEMS).is_file():
        return {}
    table = pq.read_table(folder / ITEMS, columns=["benchmark", "id", "correct"]).to_pylist()
    return {row["id"]: row["correct"] for row in table if row["benchmark"] == benchmark}


def accuracy_difference(candidate: dict[str, float], other: dict[str, float], *, seed: int = 0) -> Interval | str:
    """Accuracy of `candidate` minus that of `other`, paired by item; or why the two cannot be compared."""
    if len(candidate) < 2:
        return f"{len(candidate)} items were answered; a comparison needs at least 2"
    if candidate.keys() != other.keys():
        shared = len(candidate.keys() & other.keys())
        return f"the other model answered {len(other)} items, this one {len(candidate)}; only {shared} are the same"
    ids = sorted(candidate)
    return paired_difference([candidate[key] for key in ids], [other[key] for key in ids], seed=seed)
