"""Lines that stand on many pages: headers, footers, licences. They are cut from all but the best page that has them.

A line is compared by its words. Only pages that survived are counted, so that copies of one page make no boilerplate.
Counting works like the search for duplicates: sorted keys on disk, merged by ranges. Earlier crawls do not count.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.config import DedupConfig, RepeatedLines
from gristmill.dedup.sorted_keys import count_keys, key_ranges, read_range, write_sorted
from gristmill.filters.domains import RegisteredDomains
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import read_shard
from gristmill.text.words import words

REPEATED = np.dtype([("key", "<u8"), ("best", "<u4"), ("documents", "<u4")])

_BYTES_PER_LINE = 64


def find_repeated_lines(
    paths: list[Path], decisions: Path, out: Path, config: DedupConfig, *, workers: Workers
) -> "LineCutter | None":
    """Count the lines of surviving documents; None where no line is to be cut."""
    if config.repeated_lines.max_documents is None:
        return None
    work = out / ".done" / "lines"
    work.mkdir(parents=True, exist_ok=True)
    count = partial(_count_shard, decisions=decisions, work=work, config=config.repeated_lines)
    map_shards(count, [(f"lines-{path.stem}", path) for path in paths], out, workers=workers, label="dedup: lines")
    stems = [work / path.stem for path in paths]
    ranges = key_ranges(sum(map(count_keys, stems)), at_once=(config.memory_mb << 20) // _BYTES_PER_LINE)
    named = [(f"repeated-{number}-of-{len(ranges)}", bounds) for number, bounds in enumerate(ranges)]
    merge = partial(_merge_range, stems=stems, work=work, max_documents=config.repeated_lines.max_documents)
    map_shards(
        merge, [(name, (name, bounds)) for name, bounds in named], out, workers=workers, label="dedup: repeated lines"
    )
    repeated = np.concatenate([np.load(work / f"{name}.npy") for name, _ in named])
    np.save(work / "repeated.npy", repeated)
    return LineCutter(work / "repeated.npy", config.repeated_lines)


@dataclass(frozen=True)
class Cut:
    text: str
    """Without the repeated lines."""
    value: str


@dataclass(frozen=True)
class LineCutter:
    path: Path
    config: RepeatedLines

    def cut(self, document: dict[str, Any], place: int) -> Cut | None:
        """The document's text without lines that a better one has; None when it has none. place: from best to worst."""
        lines = document["text"].split("\n")
        numbers, keys = line_keys(lines, self._areas.of(document["url"]), self.config.min_words)
        found = np.searchsorted(self._repeated["key"], keys)
        found[found == len(self._repeated)] = 0
        rows = self._repeated[found] if len(self._repeated) else self._repeated[:0]
        gone = (rows["key"] == keys) & (rows["best"] != place) if len(rows) else np.zeros(len(keys), np.bool_)
        if not gone.any():
            return None
        cut = set(numbers[gone].tolist())
        text = "\n".join(line for number, line in enumerate(lines) if number not in cut)
        pages = int(rows["documents"][gone].max())
        return Cut(text, f"{len(cut)} line{'s'[: len(cut) != 1]}, on up to {pages} pages")

    @cached_property
    def _areas(self) -> "_Areas":
        return _Areas(self.config)

    @cached_property
    def _repeated(self) -> NDArray[Any]:
        return np.load(self.path)


class _Areas:
    """Where a line is counted: the registered domain of its page, or one area for all."""

    def __init__(self, config: RepeatedLines) -> None:
        self._domains = RegisteredDomains() if config.within == "domain" else None

    def of(self, url: str | None) -> str:
        return self._domains.of(url) if self._domains else ""


def line_keys(lines: list[str], area: str, min_words: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Numbers of the lines long enough to count, and a key for each: equal for equal words in one area."""
    numbers, keys = [], []
    for number, line in enumerate(lines):
        found = words(line)
        if len(found) >= min_words:
            numbers.append(number)
            digest = blake2b(f"{area}\n{' '.join(found)}".encode(), digest_size=8).digest()
            keys.append(int.from_bytes(digest, "little"))
    return np.array(numbers, np.int64), np.array(keys, np.uint64)


def _count_shard(path: Path, *, decisions: Path, work: Path, config: RepeatedLines) -> dict[str, Any]:
    """Write a key for each line of each surviving page, with the page's place from best to worst."""
    decided = np.load(decisions / f"{path.stem}.npy")
    areas = _Areas(config)
    keys, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    for document, decision in zip(read_shard(path, columns=["url", "text"]), decided, strict=True):
        if decision["rule"] == 0:
            lines = document["text"].split("\n")
            found = np.unique(line_keys(lines, areas.of(document["url"]), config.min_words)[1])
            keys.append(found)
            places.append(np.full(len(found), decision["place"], np.uint32))
    write_sorted(work / path.stem, np.concatenate(keys), np.concatenate(places))
    return {"rows_in": len(decided)}


def _merge_range(
    shard: tuple[str, tuple[int, int]], *, stems: list[Path], work: Path, max_documents: int
) -> dict[str, Any]:
    """Write the keys of one range that stand on more pages than allowed, ascending."""
    name, (low, high) = shard
    keys, places = read_range(stems, [0] * len(stems), low, high)
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    found, first, documents = np.unique(keys, return_index=True, return_counts=True)
    many = documents > max_documents
    repeated = np.zeros(int(many.sum()), REPEATED)
    repeated["key"], repeated["best"], repeated["documents"] = found[many], places[first[many]], documents[many]
    np.save(work / f"{name}.npy", repeated)
    return {"repeated": len(repeated)}
