"""Who contributed how much: documents and sizes by source, language and bucket, once and as often as they are seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def contributions(table: pa.Table, *, by: Sequence[str], sizes: Sequence[str]) -> list[dict[str, Any]]:
    """One row a group, sorted: what is there, what goes on, what is seen.

    table: a row a document, with `epochs` and columns of numbers, `sizes`. `documents` and each size count documents of
    at least one epoch, `…_in` all of them, `…_seen` each as often as it is seen. `share_seen` is the group's share of
    the last of the sizes.
    """
    epochs = table.column("epochs").to_numpy().astype(np.int64)
    counted = {"documents": np.ones(len(table), np.int64)} | {name: table.column(name).to_numpy() for name in sizes}
    columns = {name: table.column(name) for name in by} | {"epochs": epochs}
    for name, values in counted.items():
        columns |= {f"{name}_in": values, name: values * (epochs > 0), f"{name}_seen": values * epochs}
    numbers = [name for name in columns if name not in (*by, "epochs")]
    grouped = pa.table(columns).group_by(list(by)).aggregate([*((n, "sum") for n in numbers), ("epochs", "max")])
    rows = sorted(grouped.to_pylist(), key=lambda row: [(row[name] is None, row[name]) for name in by])
    seen = sum(row[f"{sizes[-1]}_seen_sum"] for row in rows)
    return [
        {name: row[name] for name in by}
        | {name: row[f"{name}_sum"] for name in numbers}
        | {
            "epochs_mean": round(row["documents_seen_sum"] / max(row["documents_sum"], 1), 6),
            "epochs_max": row["epochs_max"],
            "share_seen": round(row[f"{sizes[-1]}_seen_sum"] / max(seen, 1), 6),
        }
        for row in rows
    ]
