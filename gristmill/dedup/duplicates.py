"""Which pages are duplicates of which, from signatures alone: same URL, then same words, then nearly the same words.

Everything is an array over the documents: those of earlier crawls first, then the new ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.config import DedupConfig
from gristmill.dedup.near import Pages, near_duplicates
from gristmill.dedup.signatures import NO_DATE, Signatures
from gristmill.dedup.similarity import shingle_starts
from gristmill.shards import Workers

RULES = ("kept", "duplicate_url", "duplicate_text", "near_duplicate")
URL, TEXT, NEAR = 1, 2, 3

DECISION = np.dtype(
    [
        ("rule", "u1"),  # place in RULES
        ("kept", "S16"),  # doc_id of the page kept instead
        ("kept_earlier", "?"),  # it is one of an earlier crawl
        ("similarity", "<f4"),
        ("cluster_size", "<i4"),
        ("place", "<i4"),  # from best to worst, over all documents
    ]
)


@dataclass
class Duplicates:
    """Arrays over all documents; those before `first_new` are earlier ones."""

    signatures: Signatures
    first_new: int
    place: NDArray[np.int32]
    """From best to worst."""
    rule: NDArray[np.uint8]
    kept: NDArray[np.int32]
    """The page kept instead when this one was dropped; a page that stays points to itself."""
    similarity: NDArray[np.float32]
    details: dict[str, Any]

    def cluster_sizes(self) -> NDArray[np.int64]:
        """New pages that each page stands for, itself included."""
        return np.bincount(self.stands_in()[self.first_new :], minlength=len(self.kept))

    def stands_in(self) -> NDArray[np.int32]:
        """For each page the one that is in the end kept in its stead: what a URL dropped for may be dropped itself."""
        kept = self.kept
        while (further := kept[kept] != kept).any():
            kept = np.where(further, kept[kept], kept)
        return kept

    def save(self, folder: Path) -> None:
        """Write the decisions on the new documents, `<shard>.npy` of DECISION in the shard's order."""
        folder.mkdir(parents=True, exist_ok=True)
        (doc_ids,) = self.signatures.facts("doc_id")
        sizes = self.cluster_sizes()
        for shard in self.signatures.shards:
            if shard.start < self.first_new:
                continue
            rows = slice(shard.start, shard.start + shard.documents)
            decisions = np.zeros(shard.documents, DECISION)
            decisions["rule"], decisions["similarity"] = self.rule[rows], self.similarity[rows]
            decisions["kept"], decisions["kept_earlier"] = doc_ids[self.kept[rows]], self.kept[rows] < self.first_new
            decisions["cluster_size"], decisions["place"] = sizes[rows], self.place[rows]
            np.save(folder / f"{shard.stem.name}.npy", decisions)

    def superseded(self) -> Iterator[dict[str, Any]]:
        """Earlier documents that lost against a new one."""
        (doc_ids,) = self.signatures.facts("doc_id")
        for page in np.flatnonzero(self.rule[: self.first_new]):
            yield {
                "doc_id": bytes(doc_ids[page]).decode(),
                "rule": RULES[self.rule[page]],
                "kept": bytes(doc_ids[self.kept[page]]).decode(),
            }


def find_duplicates(
    signatures: Signatures, first_new: int, config: DedupConfig, out: Path, *, workers: Workers
) -> Duplicates:
    """Decide on every document. Raises ValueError for bands that would miss what the threshold asks for."""
    signatures.config.check_threshold(config.threshold)
    count = len(signatures)
    place, by_url = _places(signatures, first_new, config)
    found = Duplicates(
        signatures,
        first_new,
        place,
        rule=np.zeros(count, np.uint8),
        kept=np.arange(count, dtype=np.int32),
        similarity=np.zeros(count, np.float32),
        details={},
    )
    language, source, url, text = signatures.facts("language", "source", "url", "text")
    scope = _scopes([{"language": language, "source": source}[name] for name in config.within], count)
    _drop_equal(found, URL, url, scope, by_url, alive=url != 0)
    _drop_equal(found, TEXT, text, scope, place, alive=found.rule == 0)
    del language, url, text, by_url
    (shingles,) = signatures.facts("shingles")
    sources, source_codes = np.unique(source, return_inverse=True)
    sizes = np.bincount(source_codes[first_new:], minlength=len(sources))
    del source
    pages = Pages(
        rank=np.where((found.rule == 0) & (shingles > 0), place, np.int32(-1)),
        scope=scope,
        source=source_codes.astype(np.int32),
        starts=shingle_starts(shingles),
        source_sizes=sizes,
    )
    near = near_duplicates(signatures, first_new, pages, config, out, workers=workers)
    found.rule[near.dropped["page"]] = NEAR
    found.kept[near.dropped["page"]] = near.dropped["kept"]
    found.similarity[near.dropped["page"]] = near.dropped["similarity"]
    found.details = near.details | {"alarms": _alarms(found, near.spared, pages, sources, config)}
    return found


def _places(signatures: Signatures, first_new: int, config: DedupConfig) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Each document's place from best to worst, by the rule `keep` and by the rule for captures of one URL."""
    doc_id, date, chars, quality = signatures.facts("doc_id", "date", "chars", "quality")
    undated = date == NO_DATE
    criteria = {
        "quality": -np.nan_to_num(quality, nan=-np.inf),
        "length": -chars,
        "latest": np.where(undated, np.iinfo(np.int64).max, -np.where(undated, 0, date)),
        "earliest": np.where(undated, np.iinfo(np.int64).max, date),
    }
    halves = doc_id.view(">u8").astype(np.uint64).reshape(-1, 2)  # in the order of the letters
    last = [halves[:, 1], halves[:, 0], *(criteria[name] for name in reversed(config.keep))]
    is_new = np.arange(len(doc_id)) >= first_new
    first = [is_new] if config.earlier == "wins" else []
    place = _ranks([*last, *first])
    if config.url == "best":
        return place, place
    return place, _ranks([place, criteria["latest"], *first])


def _ranks(keys: list[NDArray[Any]]) -> NDArray[np.int32]:
    """Place of each row when sorted by these columns, the last one first; equal rows in their order."""
    order = np.lexsort(keys)
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


def _scopes(columns: list[NDArray[np.uint64]], count: int) -> NDArray[np.int32]:
    scope = np.zeros(count, np.int32)
    for column in columns:
        _, code = np.unique(column, return_inverse=True)
        _, scope = np.unique(scope * np.int64(code.max(initial=0) + 1) + code, return_inverse=True)
    return scope.astype(np.int32)


def _drop_equal(
    found: Duplicates,
    rule: int,
    keys: NDArray[np.uint64],
    scope: NDArray[np.int32],
    place: NDArray[np.int32],
    *,
    alive: NDArray[np.bool_],
) -> None:
    """Of living pages with the same key and scope keep the first. Of earlier pages none is dropped for another one."""
    pages = np.flatnonzero(alive)
    pages = pages[np.lexsort((place[pages], scope[pages], keys[pages]))]
    first = np.ones(len(pages), np.bool_)
    first[1:] = (keys[pages[1:]] != keys[pages[:-1]]) | (scope[pages[1:]] != scope[pages[:-1]])
    kept = pages[first][np.cumsum(first) - 1] if len(pages) else pages
    dropped = ~first & ((pages >= found.first_new) | (kept >= found.first_new))
    found.rule[pages[dropped]] = rule
    found.kept[pages[dropped]] = kept[dropped]


def _alarms(
    found: Duplicates,
    spared: NDArray[Any],
    pages: Pages,
    sources: NDArray[np.uint64],
    config: DedupConfig,
) -> list[dict[str, Any]]:
    """Clusters that hold much of one source, the largest first. `spared` pages of theirs stay."""
    representative = found.stands_in().astype(np.int64)
    representative[spared["page"]] = spared["kept"]
    new = np.arange(len(representative)) >= found.first_new
    clusters, sizes = np.unique(representative[new] * len(sources) + pages.source[new], return_counts=True)
    shares = sizes / np.maximum(pages.source_sizes[clusters % len(sources)], 1)
    alarming = (sizes >= config.cap.documents) & (shares >= config.cap.source_share)
    (doc_ids,) = found.signatures.facts("doc_id")
    alarms = [
        {
            "kept": bytes(doc_ids[cluster // len(sources)]).decode(),
            "source": found.signatures.names.get(int(sources[cluster % len(sources)]), ""),
            "documents": int(size),
            "source_share": round(float(share), 4),
            "spared": int((spared["kept"] == cluster // len(sources)).sum()),
        }
        for cluster, size, share in zip(clusters[alarming], sizes[alarming], shares[alarming], strict=True)
    ]
    return sorted(alarms, key=lambda alarm: (-alarm["documents"], alarm["kept"]))
