"""Exact Jaccard similarity of many pairs at once, their shingles read from disk as they are needed."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.bands import Shingles
from gristmill.dedup.signatures import Signatures

Documents = NDArray[np.int64]

_BYTES_PER_SHINGLE = 64
"""Of working memory: the shingle itself, its index, its pair, and its place in the other set."""


def shingle_starts(counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """int64 [documents + 1]: where each document's shingles start, counted over all shards."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


class ShingleSets:
    """The sets of all documents of some signatures. At most `memory_bytes` of them are held at a time, or one pair."""

    def __init__(self, signatures: Signatures, starts: NDArray[np.int64], *, memory_bytes: int) -> None:
        self._shards = signatures.shards
        self._starts = starts
        self._at_once = max(1, memory_bytes // _BYTES_PER_SHINGLE)
        self._firsts = np.array([shard.start for shard in signatures.shards], np.int64)

    def sizes(self, documents: Documents) -> NDArray[np.int64]:
        return self._starts[documents + 1] - self._starts[documents]

    def read(self, document: int) -> Shingles:
        return self._load(np.array([document], np.int64))

    def similarities(self, left: Documents, right: Documents, *, at_least: float = 0.0) -> NDArray[np.float64]:
        """Jaccard similarity of each pair. Pairs that their sizes keep below `at_least` get 0 and are not read."""
        result = np.zeros(len(left), np.float64)
        sizes = self.sizes(left), self.sizes(right)
        possible = np.flatnonzero(np.minimum(*sizes) >= at_least * np.maximum(*sizes))
        # pairs of one page lie together, so that it is read once
        possible = possible[np.lexsort((right[possible], left[possible]))]
        total = np.cumsum((sizes[0] + sizes[1])[possible])
        chunk = total // self._at_once
        for pairs in np.split(possible, np.flatnonzero(np.diff(chunk)) + 1):
            if len(pairs):
                result[pairs] = self._of_chunk(left[pairs], right[pairs])
        return result

    def _of_chunk(self, left: Documents, right: Documents) -> NDArray[np.float64]:
        documents, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        elements = self._load(documents)
        starts = shingle_starts(self.sizes(documents).astype(np.int32))
        lefts, rights = places[: len(left)], places[len(left) :]
        left_pairs, left_elements = _gather(elements, starts, lefts)
        right_pairs, right_elements = _gather(elements, starts, rights)
        # the number of the pair in front: one sorted sequence for all pairs
        left_elements |= left_pairs << np.uint64(32)
        right_elements |= right_pairs << np.uint64(32)
        found = np.searchsorted(left_elements, right_elements)
        found[found == len(left_elements)] = 0
        shared = right_pairs[left_elements[found] == right_elements] if len(left_elements) else right_pairs[:0]
        common = np.bincount(shared.astype(np.int64), minlength=len(left))
        return common / np.maximum(self.sizes(left) + self.sizes(right) - common, 1)

    def _load(self, documents: Documents) -> Shingles:
        """The sets of these documents, ascending, one after the other."""
        buffer = np.empty(int(self.sizes(documents).sum()), np.uint32)
        filled = 0
        shard_of = np.searchsorted(self._firsts, documents, side="right") - 1
        for number in np.unique(shard_of):
            shard = self._shards[number]
            path = shard.stem.with_name(f"{shard.stem.name}.shingles.npy")
            header = np.load(path, mmap_mode="r").offset
            # read, not mapped: pages of a mapped file stay in memory after the few bytes that were wanted
            with path.open("rb") as file:
                for start, stop in _runs(documents[shard_of == number]):
                    size = int(self._starts[stop] - self._starts[start])
                    file.seek(header + 4 * int(self._starts[start] - self._starts[shard.start]))
                    read = file.readinto(buffer[filled : filled + size].view(np.uint8).data) if size else 0
                    assert read == 4 * size, f"{path} ends early"
                    filled += size
        return buffer


def _gather(
    elements: Shingles, starts: NDArray[np.int64], sets: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The elements of these sets one after the other, as uint64, and for each the place of its set in `sets`."""
    sizes = starts[sets + 1] - starts[sets]
    ends = np.cumsum(sizes)
    index = np.arange(int(sizes.sum())) + np.repeat(starts[sets] - (ends - sizes), sizes)
    return np.repeat(np.arange(len(sets), dtype=np.uint64), sizes), elements[index].astype(np.uint64)


def _runs(documents: Documents) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges [start, stop)."""
    for run in np.split(documents, np.flatnonzero(np.diff(documents) > 1) + 1):
        yield int(run[0]), int(run[-1]) + 1
