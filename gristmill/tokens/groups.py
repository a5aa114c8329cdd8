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
        """tokens: folder of token shards; its index is read at once. One of before version 3 of `tokenize` does not
        say where its tokens are from: they are all `unknown`."""
        index = tokens / "index.parquet"
        told = [name for name in ("source", "language") if name in pq.read_schema(index).names]
        columns = ["row", "start", "length", *told]
        table = pq.read_table(index, columns=columns, filters=pc.field("split") == split)
        nothing = [None] * len(table)
        facts = (table[name].to_pylist() if name in told else nothing for name in ("source", "language"))
        pairs = zip(*facts, strict=True)
        named = [(source or UNKNOWN, language or UNKNOWN) for source, language in pairs]
        self.names = sorted(set(named))
        place = {name: number for number, name in enumerate(self.names)}
        self._groups = [place[name] for name in named]
        self._rows, self._starts, self._lengths = (table[name].to_numpy() for name in ("row", "start", "length"))

    def read(self, rows: Sequence[int] | NDArray[np.integer], *, seq_len: int) -> NDArray[np.int64]:
        """int64 [n, seq_len + 1]: the place in `names` of each token's group; -1 where the index has no document."""
        result = np.full((len(rows), seq_len + 1), -1, np.int64)
        firsts, ends = (np.searchsorted(self._rows, rows, side=side) for side in ("left", "right"))
        for place, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            for piece in range(first, end):
                start = self._starts[piece]
                result[place, start : start + self._lengths[piece]] = self._groups[piece]
        return result
