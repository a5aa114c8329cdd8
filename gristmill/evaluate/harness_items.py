"""Items of a benchmark's file, named as decontamination names them, and the seeded part of them that is asked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.dedup.decontaminate_config import ItemFile
from gristmill.dedup.item_files import item_ids
from gristmill.evaluate.harness_config import HarnessBenchmark
from gristmill.jsonl import read_jsonl


@dataclass(frozen=True)
class Items:
    """All items of a file. numbers: of their rows, from 1. ids: an item's own where none stands twice, else that."""

    rows: list[dict[str, Any]]
    numbers: list[int]
    ids: list[str]


def read_items(benchmark: HarnessBenchmark) -> Items:
    """The file's items. Raises ValueError naming file and line, or when there are fewer than two."""
    path = benchmark.data.path
    numbered = [(int(where.rpartition(":")[2]), where, row) for where, row in read_jsonl(path)]
    if len(numbered) < 2:
        raise ValueError(f"{path.name}: {len(numbered)} items; an interval needs at least 2, and a useful one hundreds")
    ids = item_ids(ItemFile(path=path, name=benchmark.name), numbered)
    return Items([row for _, _, row in numbered], [number for number, _, _ in numbered], ids)


def drawn(items: int, limit: int | None, seed: int) -> list[int]:
    """Indices of at most `limit` items, ascending; a larger limit with the same seed holds the smaller one's items."""
    if limit is None or limit >= items:
        return list(range(items))
    return sorted(np.random.default_rng(seed).permutation(items)[:limit].tolist())
