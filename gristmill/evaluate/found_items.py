"""Items that decontamination found on crawled pages, and scores without them.

What was found was cut, so a score with them says what was in the crawl, not what the model has read.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.evaluate.statistics import mean_interval


def named_items(asked: Collection[str], benchmark: str | None, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The asked items that rows of decontamination (leaks, or items not covered) name.

    In a file without ids decontamination names the row, and multiple choice `file:row`.
    """
    mine = [row for row in rows if row["benchmark"] == benchmark]
    ids = {row["item_id"] for row in mine}
    rows_named = {str(row["row"]) for row in mine if row["item_id"] == str(row["row"])}
    return {key for key in asked if key in ids or (":" in key and key.rpartition(":")[2] in rows_named)}


def without_found(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], decontaminated: Path, *, seed: int
) -> dict[str, float]:
    """For each benchmark of which items were found: how many, and accuracy without them.

    rows: of items.parquet. names: a benchmark → what decontamination calls its items. decontaminated: folder with
    leaks.parquet.
    """
    leaks = pq.read_table(decontaminated / "leaks.parquet", columns=["benchmark", "item_id", "row"]).to_pylist()
    metrics: dict[str, float] = {}
    for benchmark, name in names.items():
        correct = {row["id"]: row["correct"] for row in rows if row["benchmark"] == benchmark}
        found = named_items(correct, name, leaks)
        others = [right for key, right in correct.items() if key not in found]
        if found:
            metrics[f"{benchmark}_found_n"] = float(len(found))
        if found and len(others) > 1:
            metrics |= mean_interval(others, seed=seed).metrics(f"{benchmark}_accuracy_without_found")
    return metrics
