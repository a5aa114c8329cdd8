"""Near-duplicates: bands propose pairs, exact Jaccard similarity decides, the best page of a cluster stays.

1. Ranges of band keys, each on its own: pages that share a key and a scope are a bucket. Its best pages are compared
   with the others, the best first; pairs that reach the threshold are edges. Pages already connected are not compared
   again, which changes no component.
2. Components of all edges are clusters. The best page of a cluster stays and drops those that resemble it themselves;
   of what is left the best stays, and so on. No page is dropped because of a chain: taking every shared band for a
   duplicate and closing over chains has removed 97 % and more of whole sources elsewhere.

Both steps run as shards, each within the memory that the configuration gives it. The result depends on the documents
alone: neither on their order nor on the ranges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.components import Numbers, merge
from gristmill.dedup.config import DedupConfig
from gristmill.dedup.signatures import Signatures
from gristmill.dedup.similarity import ShingleSets
from gristmill.dedup.sorted_keys import count_keys, key_ranges, read_range
from gristmill.shards import Workers, map_shards

_BYTES_PER_KEY = 96
"""Of working memory: key, document, rank, scope, the order they are sorted in, and copies of those kept."""
_MEMBERS_AT_ONCE = 100_000

PAIR = np.dtype([("page", "<u4"), ("kept", "<u4"), ("similarity", "<f4")])


@dataclass(frozen=True)
class Pages:
    """What is known of all documents before this step. Each array [documents]."""

    rank: NDArray[np.int32]
    """Place from best to worst; -1 for what takes no part."""
    scope: NDArray[np.int32]
    """Only pages of one scope are compared."""
    source: NDArray[np.int32]
    starts: NDArray[np.int64]
    """[documents + 1]: where the shingles of each start."""
    source_sizes: NDArray[np.int64]
    """[sources]: how many new pages each has."""

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in vars(self).items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> "Pages":
        return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__annotations__})


@dataclass(frozen=True)
class NearDuplicates:
    dropped: NDArray[Any]
    """PAIR: each dropped page with the kept one it resembles."""
    spared: NDArray[Any]
    """PAIR: pages that stay, though they resemble a kept one, because it would have swallowed a source."""
    details: dict[str, int]


def near_duplicates(
    signatures: Signatures, first_new: int, pages: Pages, config: DedupConfig, out: Path, *, workers: Workers
) -> NearDuplicates:
    """Find and decide all near-duplicates. Documents before `first_new` are earlier ones, not compared with another."""
    work = out / ".done" / "near"
    pages.save(work)
    task = _Task(signatures, first_new, config, work)
    ranges = key_ranges(
        sum(count_keys(shard.bands) for shard in signatures.shards), at_once=(config.memory_mb << 19) // _BYTES_PER_KEY
    )
    named = [(f"edges-{number}-of-{len(ranges)}", bounds) for number, bounds in enumerate(ranges)]
    find = partial(_find_edges, task=task)
    found = map_shards(
        find, [(name, (name, bounds)) for name, bounds in named], out, workers=workers, label="dedup: near"
    )
    labels = np.arange(len(signatures))
    for name, _ in named:
        edges = np.load(work / f"{name}.npy")
        merge(labels, edges[0].astype(np.int64), edges[1].astype(np.int64))
    clusters = _clusters(labels, pages.rank)
    chunks = [(f"clusters-{number}", members) for number, members in enumerate(_chunks(*clusters))]
    for name, (members, starts) in chunks:
        np.savez(work / f"{name}.members.npz", members=members, starts=starts)
    decide = partial(_decide, task=task)
    decided = map_shards(decide, [(name, name) for name, _ in chunks], out, workers=workers, label="dedup: clusters")
    results = [np.load(work / f"{name}.npz") for name, _ in chunks]
    none = np.zeros(0, PAIR)
    return NearDuplicates(
        dropped=np.concatenate([none, *(result["dropped"] for result in results)]),
        spared=np.concatenate([none, *(result["spared"] for result in results)]),
        details={
            "pairs_compared": sum(each["compared"] for each in [*found, *decided]),
            "buckets_beyond_max_leaders": sum(each["cut"] for each in found),
            "pages_beyond_max_leaders": sum(each["left"] for each in decided),
            "clusters": len(clusters[1]),
        },
    )


@dataclass(frozen=True)
class _Task:
    signatures: Signatures
    first_new: int
    config: DedupConfig
    work: Path

    def has_new(self, left: Numbers, right: Numbers) -> NDArray[np.bool_]:
        """Which pairs are to be decided: two earlier pages both stay."""
        return (left >= self.first_new) | (right >= self.first_new)

    def sets(self, pages: Pages) -> ShingleSets:
        return ShingleSets(self.signatures, pages.starts, memory_bytes=self.config.memory_mb << 19)


def _find_edges(shard: tuple[str, tuple[int, int]], *, task: _Task) -> dict[str, Any]:
    """Write the verified edges of one range of keys: uint32 [2, edges]."""
    name, (low, high) = shard
    pages = Pages.load(task.work)
    documents, starts = _buckets(low, high, pages, task)
    nodes, members = np.unique(documents, return_inverse=True)
    sets, threshold = task.sets(pages), task.config.threshold
    labels = np.arange(len(nodes))
    edges = [np.zeros((2, 0), np.uint32)]
    compared = cut = 0
    for leader in range(task.config.max_leaders + 1):
        members, starts = _unconnected(members, starts, labels, leader)
        if leader == task.config.max_leaders:
            cut = len(starts)
            break
        left, right = _pairs_with(leader, members, starts)
        undecided = (labels[left] != labels[right]) & task.has_new(nodes[left], nodes[right])
        pairs = np.unique(left[undecided] * len(nodes) + right[undecided])
        left, right = np.divmod(pairs, max(len(nodes), 1))
        compared += len(left)
        alike = sets.similarities(nodes[left], nodes[right], at_least=threshold) >= threshold
        merge(labels, left[alike], right[alike])
        edges.append(np.stack([nodes[left[alike]], nodes[right[alike]]]).astype(np.uint32))
        if len(starts) == 0:
            break
    np.save(task.work / f"{name}.npy", np.concatenate(edges, axis=1))
    return {"compared": compared, "cut": cut}


def _buckets(low: int, high: int, pages: Pages, task: _Task) -> tuple[Numbers, Numbers]:
    """Documents bucket by bucket, each from best to worst, and where the buckets start. A bucket of one, or of earlier
    documents alone, has nothing to decide."""
    shards = task.signatures.shards
    keys, documents = read_range([shard.bands for shard in shards], [shard.start for shard in shards], low, high)
    rank = pages.rank[documents]
    part = rank >= 0
    keys, documents, rank = keys[part], documents[part], rank[part]
    scope = pages.scope[documents]
    order = np.lexsort((rank, scope, keys))
    keys, documents, scope = keys[order], documents[order], scope[order]
    first = np.ones(len(keys), np.bool_)
    first[1:] = (keys[1:] != keys[:-1]) | (scope[1:] != scope[:-1])
    starts = np.flatnonzero(first)
    if len(starts) == 0:
        return documents, starts
    sizes = np.diff(starts, append=len(keys))
    has_new = np.add.reduceat(documents >= task.first_new, starts) > 0
    return _keep_groups(documents, starts, (sizes > 1) & has_new)


def _unconnected(members: Numbers, starts: Numbers, labels: Numbers, leader: int) -> tuple[Numbers, Numbers]:
    """The buckets that have something left to compare: more members than leaders, and not all in one component."""
    if len(starts) == 0:
        return members, starts
    found = labels[members]
    apart = np.minimum.reduceat(found, starts) != np.maximum.reduceat(found, starts)
    return _keep_groups(members, starts, apart & (np.diff(starts, append=len(members)) > leader + 1))


def _pairs_with(leader: int, members: Numbers, starts: Numbers) -> tuple[Numbers, Numbers]:
    """In each bucket the member at place `leader` with each one after it."""
    sizes = np.diff(starts, append=len(members))
    place = np.arange(len(members)) - np.repeat(starts, sizes)
    behind = place > leader
    return np.repeat(members[starts + leader], sizes)[behind], members[behind]


def _keep_groups(members: Numbers, starts: Numbers, chosen: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    sizes = np.diff(starts, append=len(members))
    kept = sizes[chosen]
    return members[np.repeat(chosen, sizes)], np.cumsum(kept) - kept


def _clusters(labels: Numbers, rank: NDArray[np.int32]) -> tuple[Numbers, Numbers]:
    """Members of the components of two and more, each from best to worst, and where each component starts.

    Components are ordered by their best member, so that nothing depends on how documents are numbered.
    """
    joined = labels != np.arange(len(labels))
    joined[labels[joined]] = True
    members = np.flatnonzero(joined)
    components, component = np.unique(labels[members], return_inverse=True)
    best = np.full(len(components), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(best, component, rank[members])
    order = np.lexsort((rank[members], best[component]))
    members, component = members[order], component[order]
    first = np.ones(len(members), np.bool_)
    first[1:] = component[1:] != component[:-1]
    return members, np.flatnonzero(first)


def _chunks(members: Numbers, starts: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Whole clusters, about so many members at once."""
    for group in np.split(starts, np.flatnonzero(np.diff(starts // _MEMBERS_AT_ONCE)) + 1):
        if len(group):
            behind = starts[starts > group[-1]][:1]
            stop = int(behind[0]) if len(behind) else len(members)
            yield members[group[0] : stop], group - group[0]


def _decide(name: str, *, task: _Task) -> dict[str, Any]:
    """Write which pages of some clusters are dropped or spared, and for which kept page."""
    given = np.load(task.work / f"{name}.members.npz")
    pages = Pages.load(task.work)
    members, starts = given["members"], given["starts"]
    cluster = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(members)))
    sets, threshold = task.sets(pages), task.config.threshold
    dropped, spared = [np.zeros(0, PAIR)], [np.zeros(0, PAIR)]
    compared = 0
    for _ in range(task.config.max_leaders):
        if len(members) == 0:
            break
        leads = np.ones(len(members), np.bool_)
        leads[1:] = cluster[1:] != cluster[:-1]
        leader = members[leads][np.cumsum(leads) - 1]
        places = np.flatnonzero(~leads & task.has_new(leader, members))
        similarity = sets.similarities(leader[places], members[places], at_least=threshold)
        compared += len(places)
        alike = places[similarity >= threshold]
        pairs = np.zeros(len(alike), PAIR)
        pairs["page"], pairs["kept"] = members[alike], leader[alike]
        pairs["similarity"] = similarity[similarity >= threshold]
        swallowed = _swallowed(pairs, pages, task)
        dropped.append(pairs[~swallowed])
        spared.append(pairs[swallowed])
        remaining = ~leads
        remaining[alike] = False
        members, cluster = members[remaining], cluster[remaining]
    np.savez(task.work / f"{name}.npz", dropped=np.concatenate(dropped), spared=np.concatenate(spared))
    alone = np.bincount(cluster, minlength=1)
    return {"compared": compared, "left": int(alone[alone > 1].sum())}


def _swallowed(pairs: NDArray[Any], pages: Pages, task: _Task) -> NDArray[np.bool_]:
    """Pairs whose kept page would take too much of a source along, and which are not nearly identical."""
    cap = task.config.cap
    source = pages.source[pairs["page"]]
    _, group, sizes = np.unique(
        pairs["kept"].astype(np.int64) * len(pages.source_sizes) + source, return_inverse=True, return_counts=True
    )
    size = sizes[group]
    alarming = (size >= cap.documents) & (size >= cap.source_share * pages.source_sizes[source])
    alarming &= pairs["page"] >= task.first_new
    return alarming & (pairs["similarity"] < cap.threshold)
