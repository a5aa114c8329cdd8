"""Keys of a shard's rows, sorted on disk, and their merge by ranges: memory is what one range takes.

Keys are hashes, so they spread evenly over 64 bits: equal ranges of values hold nearly equal numbers of keys, and the
k-way merge of any number of files is, for each range, to read each file's part and to sort what was read.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gristmill.text.words import Hashes

Rows = NDArray[np.uint32]

_SPACE = 1 << 64


def write_sorted(stem: Path, keys: Hashes, rows: Rows) -> None:
    """Write `<stem>.keys.npy` (uint64, ascending) and `<stem>.rows.npy` (uint32), keys of equal value by row."""
    order = np.lexsort((rows, keys))
    np.save(stem.with_name(stem.name + ".keys.npy"), keys[order])
    np.save(stem.with_name(stem.name + ".rows.npy"), rows[order])


def count_keys(stem: Path) -> int:
    return len(np.load(stem.with_name(stem.name + ".keys.npy"), mmap_mode="r"))


def key_ranges(count: int, *, at_once: int) -> list[tuple[int, int]]:
    """Ranges [low, high) over all keys, so that about `at_once` of `count` even keys fall into each."""
    ranges = max(1, -(-count // at_once))
    bounds = [_SPACE * number // ranges for number in range(ranges + 1)]
    return list(pairwise(bounds))


def read_range(stems: Sequence[Path], offsets: Sequence[int], low: int, high: int) -> tuple[Hashes, NDArray[np.int64]]:
    """All keys in [low, high) and the documents they belong to: row + offset of its shard. Not sorted over shards."""
    keys, documents = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for stem, offset in zip(stems, offsets, strict=True):
        part, rows = keys_between(stem, low, high)
        keys.append(part)
        documents.append(rows.astype(np.int64) + offset)
    return np.concatenate(keys), np.concatenate(documents)


def keys_between(stem: Path, low: int, high: int) -> tuple[Hashes, Rows]:
    """One shard's keys in [low, high), ascending, and their rows."""
    keys = np.load(stem.with_name(stem.name + ".keys.npy"), mmap_mode="r")
    start = int(np.searchsorted(keys, np.uint64(low)))
    stop = len(keys) if high >= _SPACE else int(np.searchsorted(keys, np.uint64(high)))
    rows = np.load(stem.with_name(stem.name + ".rows.npy"), mmap_mode="r")
    return np.array(keys[start:stop]), np.array(rows[start:stop])
