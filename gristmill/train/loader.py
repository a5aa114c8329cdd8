"""Which rows a step trains on: a pure function of (dataset digest, seed, step), so a resumed run needs no state for it.

Rows are drawn without replacement within an epoch; epochs follow without a gap, each in an order of its own.
"""

import numpy as np

from gristmill.tokens.reader import TokenShards, row_order


class BatchLoader:
    """The training rows of each step; `rank` of `world` processes reads its contiguous slice of them."""

    def __init__(self, shards: TokenShards, *, batch_rows: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self._shards, self._batch_rows, self._seed = shards, batch_rows, seed
        self._mine = slice(rank * batch_rows // world, (rank + 1) * batch_rows // world)
        self.rows = shards.rows("train")
        self._order: tuple[int, np.ndarray] | None = None  # of the epoch in use: it takes long to draw, not to look up
        if self.rows == 0:
            raise ValueError(
                "the token shards hold no training rows; the text before them was too short or all filtered out"
            )

    def row_indices(self, step: int) -> np.ndarray:
        """Indices of all rows of a step, over all processes: [batch_rows]."""
        first = step * self._batch_rows
        return np.array([self._row_at(position) for position in range(first, first + self._batch_rows)])

    def my_row_indices(self, step: int) -> np.ndarray:
        """Indices of this process's rows of a step: [rows]."""
        return self.row_indices(step)[self._mine]

    def read(self, step: int) -> np.ndarray:
        """This process's rows of a step: [rows, seq_len + 1] int64."""
        return self._shards.read("train", self.my_row_indices(step))

    def document_ids(self, step: int) -> np.ndarray:
        """Which document of its row each token of `read(step)` belongs to: [rows, seq_len + 1] int64."""
        return self._shards.document_ids("train", self.my_row_indices(step))

    def _row_at(self, position: int) -> int:
        epoch, place = divmod(position, self.rows)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, row_order(self._shards.meta["digest"], self._seed, epoch, self.rows))
        return int(self._order[1][place])
