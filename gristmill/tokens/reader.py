"""Random access to packed rows, and the order in which an epoch visits them: pure functions, no buffers to restore."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray


class TokenShards:
    """The rows of a tokens artifact, memory-mapped.

    `meta` is its `meta.json`; `token_bytes`, int32 [vocab_size], the bytes of text of each token, 0 for special ones.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ValueError when the folder is no tokens artifact."""
        if not (folder / "meta.json").is_file():
            raise ValueError(f"no meta.json in {folder}; expected a folder written by the stage tokenize")
        self.folder = folder
        self._index: dict[str, tuple[NDArray[np.int64], NDArray[np.int32]]] = {}
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        self.token_bytes: NDArray[np.int32] = np.load(folder / "token_bytes.npy")
        self._shards = {
            split: [np.load(path, mmap_mode="r") for path in sorted((folder / split).glob("tokens-*.npy"))]
            for split in self.meta["splits"]
        }
        self._ends = {split: np.cumsum([len(shard) for shard in shards]) for split, shards in self._shards.items()}

    def rows(self, split: str) -> int:
        """Number of rows; the last one may end in padding, of `meta["splits"][split]["padding"]` tokens."""
        return self.meta["splits"][split]["rows"]

    def place(self, split: str, row: int) -> tuple[str, int]:
        """The file that holds a row, relative to the folder, and the row's number in it. Raises IndexError beyond the
        last row."""
        if not 0 <= row < self.rows(split):
            raise IndexError(f"row {row} of {split}, which has {self.rows(split)}")
        number = int(np.searchsorted(self._ends[split], row, side="right"))
        shard = self._shards[split][number]
        return f"{split}/tokens-{number:05d}.npy", row - int(self._ends[split][number] - len(shard))

    def read(self, split: str, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """int64 [n, seq_len + 1]: the rows of these n numbers, in that order. Raises IndexError beyond the last row."""
        indices = np.asarray(rows, np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.rows(split):
            raise IndexError(f"rows {indices.min()} to {indices.max()} of {split}, which has {self.rows(split)}")
        result = np.empty((len(indices), self.meta["seq_len"] + 1), np.int64)
        numbers = np.searchsorted(self._ends[split], indices, side="right")
        for number in np.unique(numbers):
            shard, mine = self._shards[split][number], numbers == number
            result[mine] = shard[indices[mine] - (self._ends[split][number] - len(shard))]
        return result

    def document_ids(self, split: str, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """int64 [n, seq_len + 1]: which document of its row each token belongs to, from 0; -1 for padding.

        For attention that ends at documents, positions that begin anew, or losses by document. A document that goes on
        in another row is another one there. From the index, which is read at the first call.
        """
        offsets, lengths = self._pieces(split)
        result = np.full((len(rows), self.meta["seq_len"] + 1), -1, np.int64)
        for place, row in enumerate(rows):
            mine = lengths[offsets[row] : offsets[row + 1]]
            result[place, : mine.sum()] = np.repeat(np.arange(len(mine)), mine)
        return result

    def _pieces(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Where the pieces of each row begin, [rows + 1], and the lengths of all pieces."""
        if split not in self._index:
            table = pq.read_table(
                self.folder / "index.parquet", columns=["row", "length"], filters=pc.field("split") == split
            )
            offsets = np.searchsorted(table["row"].to_numpy(), np.arange(self.rows(split) + 1))
            self._index[split] = offsets, table["length"].to_numpy()
        return self._index[split]


def cu_seqlens(document_ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32 [documents + 1]: where documents begin in the rows laid end to end, and the end of the last.

    document_ids: [n, T], as of `TokenShards.document_ids`, or its columns but the last for a model's inputs. The
    padding of a row counts as a document. What variable-length attention takes (FlashAttention; arXiv:2205.14135).
    """
    begins = np.ones(document_ids.shape, bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return np.append(np.flatnonzero(begins), document_ids.size).astype(np.int32)


def row_order(digest: str, seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """int64 [rows]: the permutation in which an epoch visits the rows of the data named by `digest`."""
    entropy = hashlib.sha256(f"{digest}:{seed}:{epoch}".encode()).digest()
    # the raw stream of a bit generator is the same in every version of numpy; that of `permutation` is not promised
    raw = np.random.PCG64(int.from_bytes(entropy, "big")).random_raw(rows)
    return np.argsort(raw, kind="stable")
