"""Which source and language each token of packed rows has: what scores are divided by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

UNKNOWN = "unknown"


class RowGroups:
    """The groups of a split of token shards: each (source, language) that occurs in it, sorted, under `names`."""

    def __init__(self, tokens: Path, split: str) -> None:
        """tokens: folder of token shards; its index is read at once."""
        columns = ["row", "start", "length", "source", "language"]
        table = pq.read_table(tokens / "index.parquet", columns=columns, filters=pc.field("split") == split)
        pairs = zip(table["source"].to_pylist(), table["language"].to_pylist(), strict=True)
        named = [(source or UNKNOWN, language or UNKNOWN) for source, language in pairs]
        self.names = sorted(set(named))
        place = {name: number for number, name in enumerate(self.names)}
        self._groups = [place[name] for name in named]
        self._rows, self._starts, self._lengths = (table[name].to_numpy() for name in ("row", "start", "length"))

    def read(self, rows: Sequence[int] | NDArray[np.integer], *, seq_len: int) -> NDArray[np.int64]:
        """int64 [n, seq_len + 1]: the place in `names` of each token's group; -1 for padding."""
        result = np.full((len(rows), seq_len + 1), -1, np.int64)
        firsts, ends = (np.searchsorted(self._rows, rows, side=side) for side in ("left", "right"))
        for place, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            for piece in range(first, end):
                start = self._starts[piece]
                result[place, start : start + self._lengths[piece]] = self._groups[piece]
        return result
