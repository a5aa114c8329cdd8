"""Items looked for in pages, in both views of their text, through an index that lies in a folder.

<folder>/names.arrow             key, benchmark, item_id and row of each item
<folder>/<view>/index/*.npy      `ItemIndex`
<folder>/<view>/rarity/*.npy     `Rarity`, once pages are counted
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.item_files import Item
from gristmill.dedup.items import Hits, ItemIndex, index_items, lookup, mapped_arrays, write_arrays
from gristmill.dedup.matching import Match, Matcher, PageCounts, Rarity, measure_rarity
from gristmill.dedup.views import VIEWS, Reader
from gristmill.text.words import ngram_hashes

Sparse = dict[str, list[list[int]]]
"""Field of `PageCounts` → (rows, counts) where a count is not zero."""


def write_indexes(folder: Path, items: Sequence[Item], config: DecontaminateConfig) -> None:
    """Index the items in each view. A view in which nothing is looked for has no folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "key": pa.array([item.key for item in items], pa.string()),
        "benchmark": pa.array([item.benchmark for item in items], pa.string()),
        "item_id": pa.array([item.item_id for item in items], pa.string()),
        "row": pa.array([item.row for item in items], pa.int64()),
    }
    feather.write_feather(pa.table(names), str(folder / "names.arrow"), compression="uncompressed")
    for name, view in VIEWS.items():
        index = index_items(items, view, config)
        if len(index.ngrams) + len(index.anchors) > 0:
            write_arrays(folder / name / "index", index)


def write_rarity(folder: Path, counted: Sequence[dict[str, Sparse]]) -> None:
    """Add up what `PageCounter` found in each shard of pages, and write how rare everything in the index is."""
    for name in _views(folder):
        index = _index(folder, name)
        sums = _no_pages(index)
        for shard in counted:
            for field, (rows, counts) in shard[name].items():
                getattr(sums, field)[np.array(rows, np.int64)] += np.array(counts, np.int64)
        write_arrays(folder / name / "rarity", measure_rarity(index, sums))


class PageCounter:
    """Counts on how many pages the n-grams and phrases of items stand, and how often their words do."""

    def __init__(self, folder: Path) -> None:
        self._views = [(name, Reader(VIEWS[name]), _index(folder, name)) for name in _views(folder)]
        self._counts = {name: _no_pages(index) for name, _, index in self._views}

    def add(self, text: str, *, speech: bool) -> bool:
        """Count one page. speech: whether its words count, too. Returns whether the page may hold an item."""
        suspect = False
        for name, reader, index in self._views:
            counts, page = self._counts[name], reader.hashes(text)
            hits = index.hits(page)
            if hits:
                counts.ngrams[np.unique(hits.ngrams)] += 1
                counts.phrases[np.unique(hits.phrases)] += 1
                suspect = True
            if speech:
                counted = _outside(hits, len(page), *index.shape.tolist())
                np.add.at(counts.words, lookup(page[counted], index.vocabulary)[1], 1)
                np.add.at(counts.pairs, lookup(ngram_hashes(page, 2)[counted[:-1]], index.pairs)[1], 1)
        return suspect

    def counts(self) -> dict[str, Sparse]:
        """By view what was counted, as JSON can hold it."""
        return {
            name: {field: _sparse(array) for field, array in vars(self._counts[name]).items()} for name in self._counts
        }


@dataclass(frozen=True)
class Found:
    """A match, and the lines of the page that it stands on (the last included)."""

    match: Match
    first_line: int
    last_line: int


class Finder:
    """Finds items in texts, by an index whose rarity is written. however_common: as of `Matcher`."""

    def __init__(self, folder: Path, config: DecontaminateConfig, *, however_common: bool = False) -> None:
        self._names = feather.read_table(str(folder / "names.arrow"), memory_map=True)
        self._views = [
            (
                Reader(VIEWS[name]),
                Matcher(_index(folder, name), _rarity(folder, name), config, however_common=however_common),
            )
            for name in _views(folder)
        ]

    def find(self, text: str) -> list[Found]:
        """Everything found in a page, the longest first."""
        found = []
        for reader, matcher in self._views:
            hashes, line_of = reader.lines(text)
            for match in matcher.matches(hashes):
                found.append(Found(match, int(line_of[match.start]), int(line_of[match.stop - 1])))
        return sorted(found, key=lambda one: -one.match.words)

    def holds(self, texts: Iterable[str], item: int) -> bool:
        """Whether one of the texts, were it a page, would hold this item."""
        return any(
            match.item == item
            for text in texts
            for reader, matcher in self._views
            for match in matcher.matches(reader.hashes(text), item=item)
        )

    def name(self, item: int) -> dict[str, Any]:
        """key, benchmark, item_id and row of an item."""
        return self._names.slice(item, 1).to_pylist()[0]


def _views(folder: Path) -> list[str]:
    return [name for name in VIEWS if (folder / name / "index").is_dir()]


def _index(folder: Path, view: str) -> ItemIndex:
    return ItemIndex(**mapped_arrays(folder / view / "index"))


def _rarity(folder: Path, view: str) -> Rarity:
    return Rarity(**mapped_arrays(folder / view / "rarity"))


def _no_pages(index: ItemIndex) -> PageCounts:
    sizes = {"ngrams": index.ngrams, "phrases": index.anchors, "words": index.vocabulary, "pairs": index.pairs}
    return PageCounts(**{field: np.zeros(len(keys), np.int64) for field, keys in sizes.items()})


def _outside(hits: Hits, words: int, ngram_words: int, phrase_words: int) -> NDArray[np.bool_]:
    """[words]: false where an n-gram or phrase of an item begins or goes on: a leak must not make itself common."""
    edges = np.zeros(words + 1, np.int64)
    for starts, length in ((hits.positions, ngram_words), (hits.phrase_positions, phrase_words)):
        np.add.at(edges, starts, 1)
        np.add.at(edges, starts + length, -1)
    return np.cumsum(edges[:-1]) == 0


def _sparse(counts: NDArray[np.int64]) -> list[list[int]]:
    rows = np.flatnonzero(counts)
    return [rows.tolist(), counts[rows].tolist()]
