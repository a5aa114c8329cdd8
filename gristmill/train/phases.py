"""Which shards, and which of their rows, a step reads: those of the run, and in its last phase those to anneal on.

A pure function of (digests, seed, step), as the order within each phase is (`loader.py`).
"""

import math

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.tokens.reader import TokenShards
from gristmill.train.config import PretrainRun
from gristmill.train.loader import BatchLoader

SAME_TOKENIZER = ("vocab_size", "seq_len", "bos_id", "eos_id", "pad_id")
SHOWN_DOCUMENTS = 40


def anneal_begins(steps: int, *, share: float) -> int:
    """First step (0 is the first of `steps`) of the last phase, which takes this share of all steps, at least one."""
    return steps - max(1, math.floor(share * steps))


def anneal_shards(run: PretrainRun, shards: TokenShards) -> TokenShards | None:
    """The shards of the last phase, where there is one.

    Raises ValueError when the run file does not say where they lie, or their ids mean other text.
    """
    if run.config.anneal is None:
        return None
    if run.anneal is None:
        raise ValueError(
            f"pretrain.anneal names {run.config.anneal.artifact} but `anneal`, the folder where it lies, is not given"
        )
    anneal = TokenShards(run.anneal)
    check_same_tokenizer(shards, anneal)
    return anneal


def check_same_tokenizer(shards: TokenShards, anneal: TokenShards) -> None:
    """Raises ValueError when the ids of two sets of shards mean other text, or their rows differ in length."""
    for name in SAME_TOKENIZER:
        if shards.meta[name] != anneal.meta[name]:
            raise ValueError(
                f"pretrain.anneal: its token shards have {name}={anneal.meta[name]}, those of the run "
                f"{shards.meta[name]}; tokenize both with one tokenizer and one seq_len"
            )
    differing = np.flatnonzero(shards.token_bytes != anneal.token_bytes)
    if len(differing):
        raise ValueError(
            f"pretrain.anneal: token {differing[0]} stands for {anneal.token_bytes[differing[0]]} bytes in its shards "
            f"and for {shards.token_bytes[differing[0]]} in those of the run; tokenize both with one tokenizer"
        )


class Phases:
    """The batches of a run: `shards` until `begins`, `anneal` from then on. Without `anneal` there is one phase."""

    def __init__(
        self,
        shards: TokenShards,
        anneal: TokenShards | None = None,
        *,
        begins: int = 0,
        batch_rows: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._batch_rows = batch_rows
        self._shards, self._anneal = shards, anneal
        self.begins = begins if anneal else None
        self._loaders = [
            BatchLoader(each, batch_rows=batch_rows, seed=seed, rank=rank, world=world)
            for each in (shards, anneal)
            if each
        ]

    def row_indices(self, step: int) -> NDArray[np.int64]:
        """Indices of all rows of a step in its phase's shards, over all processes: [batch_rows]."""
        loader, place = self._at(step)
        return loader.row_indices(place)

    def my_row_indices(self, step: int) -> NDArray[np.int64]:
        """Indices of this process's rows of a step: [rows]."""
        loader, place = self._at(step)
        return loader.my_row_indices(place)

    def read(self, step: int) -> NDArray[np.int64]:
        """This process's rows of a step: [rows, seq_len + 1] int64."""
        loader, place = self._at(step)
        return loader.read(place)

    def document_ids(self, step: int) -> NDArray[np.int64]:
        """Which document of its row each token of `read(step)` belongs to: [rows, seq_len + 1] int64."""
        loader, place = self._at(step)
        return loader.document_ids(place)

    def epoch(self, step: int) -> float:
        """Passes over the phase's rows that are done when `step` begins."""
        loader, place = self._at(step)
        return place * self._batch_rows / loader.rows

    def ends_epoch(self, step: int) -> bool:
        """Whether a pass over the phase's rows ends within this step."""
        loader, place = self._at(step)
        return place * self._batch_rows // loader.rows != (place + 1) * self._batch_rows // loader.rows

    def begins_anew(self, step: int) -> bool:
        """Whether this is the first step on other shards than the one before."""
        return step == self.begins and step > 0

    def documents(self, step: int) -> list[str]:
        """Ids of the documents whose text stands in a step's rows, in the order of the rows; `gristmill trace` tells
        the story of each. Read from the shards' index."""
        shards = self._anneal if self._in_anneal(step) and self._anneal else self._shards
        index = shards.folder / "index.parquet"
        if not index.is_file():
            return []
        rows = self.row_indices(step)
        condition = (pc.field("split") == "train") & pc.field("row").isin(np.unique(rows).tolist())
        pieces = pq.read_table(index, columns=["row", "doc_id"], filters=condition).to_pylist()
        of_row: dict[int, list[str]] = {}
        for piece in pieces:
            of_row.setdefault(piece["row"], []).append(piece["doc_id"])
        return list(dict.fromkeys(doc_id for row in rows.tolist() for doc_id in of_row.get(row, [])))

    def describe(self, step: int) -> str:
        """The rows and documents of a step, for a message."""
        documents = self.documents(step)
        more = f" and {len(documents) - SHOWN_DOCUMENTS} more" if len(documents) > SHOWN_DOCUMENTS else ""
        shown = ", ".join(documents[:SHOWN_DOCUMENTS]) + more
        where = " of the shards to anneal on" if self._in_anneal(step) else ""
        return f"training rows {self.row_indices(step).tolist()}{where}, documents {shown or 'unknown (no index)'}"

    def _in_anneal(self, step: int) -> bool:
        return self.begins is not None and step >= self.begins

    def _at(self, step: int) -> tuple[BatchLoader, int]:
        if self.begins is None or step < self.begins:
            return self._loaders[0], step
        return self._loaders[1], step - self.begins
