"""Items that decontamination found on crawled pages, and scores without them.

What was found was cut, so a score with them says what was in the crawl, not what the model has read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.evaluate.statistics import mean_interval


def named_items(asked: Mapping[str, int | None], benchmark: str | None, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The asked items that rows of decontamination (leaks, or items not covered) name.

    asked: an item's id → its row in the benchmark's file, which names it: a file's ids may be called anything, and
    `decontaminate.benchmarks` may choose others. None: of no file that both read (`examples`), so its id names it.
    """
    mine = [row for row in rows if row["benchmark"] == benchmark]
    ids, numbers = {row["item_id"] for row in mine}, {row["row"] for row in mine}
    return {key for key, row in asked.items() if (key in ids if row is None else row in numbers)}


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
        answered = [row for row in rows if row["benchmark"] == benchmark]
        found = named_items({row["id"]: row["row"] for row in answered}, name, leaks)
        others = [row["correct"] for row in answered if row["id"] not in found]
        if found:
            metrics[f"{benchmark}_found_n"] = float(len(found))
        if found and len(others) > 1:
            metrics |= mean_interval(others, seed=seed).metrics(f"{benchmark}_accuracy_without_found")
    return metrics
