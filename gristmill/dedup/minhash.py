"""The `dedup` stage: of pages with one URL, one text, or nearly one text, the best stays.

First canonical URLs, then equal words, then near-duplicates (MinHash bands propose, exact Jaccard decides). The best
page is the longest, then the latest, then the one of smallest doc_id. Sketches are spilled to `.work/` in the output
folder while the stage runs, so that memory holds no texts and no shingles.
Left out: duplicate passages inside pages, and clusters over several machines.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.crawl.urls import canonical_url
from gristmill.dedup.bands import band_keys, empty_sketch, jaccard, keepers, shingles, verified_groups
from gristmill.dedup.config import DedupConfig
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    kept,
    read_documents,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
    write_shard,
)
from gristmill.text.words import Hashes, text_hash, word_hashes, words

_PAGE_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),  # canonical
        ("date", pa.string()),
        ("text_hash", pa.string()),
        ("chars", pa.int64()),
        ("shingles", pa.int64()),
    ]
)


def run_dedup(documents: Path, out: Path, config: DedupConfig, *, workers: Workers = 1) -> Report:
    """Write the surviving documents with a column `cluster_size`, and a verdict for each dropped one.

    `cluster_size` (int32) counts the pages a document stands for, itself included.
    """
    schema = document_schema(documents)
    paths = shard_paths(documents)
    # beside the commits of the sketches: one is never there without the other
    work = out / ".done" / "sketches"
    work.mkdir(parents=True, exist_ok=True)
    sketch = partial(_sketch_shard, work=work, config=config)
    map_shards(sketch, [(f"sketch-{path.stem}", path) for path in paths], out, workers=workers, label="dedup: sketches")
    pages = _Pages(work)
    duplicates = _Duplicates(pages, config)
    duplicates.drop_same_url()
    duplicates.drop_same_text()
    duplicates.drop_near()

    schema = schema.append(pa.field("cluster_size", pa.int32()))
    write = partial(_write_shard, out=out, schema=schema)
    decisions = [(f"write-{path.stem}", (path, duplicates.of_shard(number))) for number, path in enumerate(paths)]
    written = map_shards(write, decisions, out, workers=workers, label="dedup: documents")
    join_verdicts([out / path.name for path in paths], out, schema=schema)
    return Report(
        rows_in=len(pages),
        rows_out=sum(shard["rows_out"] for shard in written),
        dropped=dict(Counter(decision.rule for decision in duplicates.dropped.values())),
        metrics={"dropped_ratio": len(duplicates.dropped) / max(len(pages), 1)},
        details={
            "pairs_compared": duplicates.compared,
            "largest_cluster": max(duplicates.sizes, default=0),
            "match_probability_at_threshold": config.minhash.match_probability(config.minhash.threshold),
        },
    )


def _sketch_shard(path: Path, *, work: Path, config: DedupConfig) -> dict[str, Any]:
    """Write what the decisions need of each page: facts, band keys, shingles."""
    empty = empty_sketch(config.minhash)
    facts, keys, sets = [], [], []
    for document in read_shard(path, columns=["doc_id", "url", "date", "text"]):
        page = shingles(word_hashes(words(document["text"])), config.minhash.shingle_words)
        facts.append(
            {
                "doc_id": document["doc_id"],
                "url": canonical_url(document["url"]),
                "date": document["date"] or "",
                "text_hash": text_hash(document["text"]),
                "chars": len(document["text"]),
                "shingles": len(page),
            }
        )
        keys.append(band_keys(page, empty, config.minhash))
        sets.append(page)
    np.save(work / f"{path.stem}.keys.npy", np.array(keys, np.uint64).reshape(len(keys), config.minhash.bands))
    np.save(work / f"{path.stem}.shingles.npy", np.concatenate([np.zeros(0, np.uint64), *sets]))
    write_shard(work / path.name, facts, schema=_PAGE_SCHEMA)
    return {"rows_in": len(facts)}


class _Pages:
    """The sketches of all shards, pages numbered in document order; shingles stay on disk until they are compared."""

    def __init__(self, work: Path) -> None:
        self.facts = list(read_documents(work))
        stems = [path.stem for path in shard_paths(work)]
        keys = [np.load(work / f"{stem}.keys.npy") for stem in stems]
        self.keys: Hashes = np.concatenate(keys)
        self.shard_rows = [len(shard) for shard in keys]
        self._shards = [np.load(work / f"{stem}.shingles.npy", mmap_mode="r") for stem in stems]
        self._places = list(self._find_places())

    def __len__(self) -> int:
        return len(self.facts)

    def shingles(self, page: int) -> Hashes:
        shard, start = self._places[page]
        return self._shards[shard][start : start + self.facts[page]["shingles"]]

    def _find_places(self) -> Iterator[tuple[int, int]]:
        counts = iter(self.facts)
        for shard, rows in enumerate(self.shard_rows):
            start = 0
            for _ in range(rows):
                yield shard, start
                start += next(counts)["shingles"]


@dataclass(frozen=True)
class _Drop:
    rule: str
    value: str
    threshold: str


class _Duplicates:
    """Which pages are dropped, why, and how many pages each kept one stands for."""

    def __init__(self, pages: _Pages, config: DedupConfig) -> None:
        self.pages = pages
        self.config = config
        self.dropped: dict[int, _Drop] = {}
        self.sizes = [1] * len(pages)
        self.compared = 0
        # ties in the last key sorted by are decided by the one before
        self.latest_first = self._sorted("chars", "date")
        self.best_first = self._sorted("date", "chars")

    def drop_same_url(self) -> None:
        order = self.latest_first if self.config.url == "latest" else self.best_first
        self._drop_same("url", order, rule="duplicate_url", threshold=f"the {self.config.url} of one URL")

    def drop_same_text(self) -> None:
        self._drop_same("text_hash", self.best_first, rule="duplicate_text", threshold="the best of one text")

    def drop_near(self) -> None:
        alive = [page for page in self.best_first if page not in self.dropped and self.pages.facts[page]["shingles"]]
        threshold = self.config.minhash.threshold

        def similarity(left: int, right: int) -> float:
            return jaccard(self.pages.shingles(alive[left]), self.pages.shingles(alive[right]))

        groups, self.compared = verified_groups(self.pages.keys[alive], similarity, threshold)
        for group in groups:
            for page, keeper, value in keepers(group, similarity, threshold):
                self._drop(alive[page], alive[keeper], "near_duplicate", f"{value:.3f} with", f"{threshold}")

    def of_shard(self, number: int) -> list[int | _Drop]:
        """For each row of one shard: its cluster size, or why it is dropped."""
        start = sum(self.pages.shard_rows[:number])
        rows = range(start, start + self.pages.shard_rows[number])
        return [self.dropped.get(page, self.sizes[page]) for page in rows]

    def _sorted(self, *descending: str) -> list[int]:
        facts = self.pages.facts
        order = sorted(range(len(facts)), key=lambda page: facts[page]["doc_id"])
        for name in descending:
            order.sort(key=_field(facts, name), reverse=True)
        return order

    def _drop_same(self, name: str, order: Iterable[int], *, rule: str, threshold: str) -> None:
        kept: dict[str, int] = {}
        for page in order:
            if page in self.dropped:
                continue
            first = kept.setdefault(self.pages.facts[page][name], page)
            if first != page:
                self._drop(page, first, rule, "same as", threshold)

    def _drop(self, page: int, kept: int, rule: str, value: str, threshold: str) -> None:
        self.dropped[page] = _Drop(rule, f"{value} {self.pages.facts[kept]['doc_id']}", threshold)
        self.sizes[kept] += self.sizes[page]


def _field(facts: list[dict[str, Any]], name: str) -> Callable[[int], Any]:
    return lambda page: facts[page][name]


def _write_shard(shard: tuple[Path, list[int | _Drop]], *, out: Path, schema: pa.Schema) -> dict[str, Any]:
    path, decisions = shard

    def judged() -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        for document, decision in zip(read_shard(path), decisions, strict=True):
            if isinstance(decision, int):
                document["cluster_size"] = decision
                yield kept(document, stage="dedup"), document
            else:
                yield verdict(document, stage="dedup", **vars(decision)), None

    return write_judged(out / path.name, judged(), schema=schema)
