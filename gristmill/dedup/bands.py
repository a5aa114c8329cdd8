"""Shingles and the keys of their MinHash bands: the arithmetic, without files.

Signatures are those of datasketch's scheme `affine32` (Broder 1997, with h → a·h + b modulo 2^32), computed for many
hashes at once; its own loop calls a Python function for each shingle.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.config import SignaturesConfig
from gristmill.text.words import Hashes, ngram_hashes

Shingles = NDArray[np.uint32]

# 32 hashes × 1024 shingles stay in the processor's cache: several times as fast as a page at once, and bounded memory
_HASHES_AT_ONCE, _SHINGLES_AT_ONCE = 32, 1024


def shingles(hashes: Hashes, n: int) -> Shingles:
    """The set of n-grams, sorted: 32 bits each, so that of sets of m shingles a share of m / 2^32 meets by accident.

    A text shorter than n words is one shingle, one without words has none.
    """
    grams = ngram_hashes(hashes, min(n, max(len(hashes), 1))).astype(np.uint32)
    grams.sort()  # np.unique takes seven times as long
    return grams[np.concatenate([np.ones(min(len(grams), 1), np.bool_), grams[1:] != grams[:-1]])]


def jaccard(left: Shingles, right: Shingles) -> float:
    """Shared share of two sets of shingles. Two empty sets share nothing."""
    if len(left) == 0 or len(right) == 0:
        return 0.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def signature(shingles: Shingles, config: SignaturesConfig) -> NDArray[np.uint32]:
    """uint32 [num_perm]: for each hash function the smallest value that a shingle takes; all ones without shingles."""
    multipliers, offsets = _permutations(config.num_perm, config.seed)
    mixed = _mix(shingles)
    smallest = np.full(config.num_perm, 0xFFFFFFFF, np.uint32)
    for start in range(0, len(mixed), _SHINGLES_AT_ONCE):
        for first in range(0, config.num_perm, _HASHES_AT_ONCE):
            some = slice(first, first + _HASHES_AT_ONCE)
            values = multipliers[some, None] * mixed[start : start + _SHINGLES_AT_ONCE]
            values += offsets[some, None]
            np.minimum(smallest[some], values.min(axis=1), out=smallest[some])
    return smallest


def band_keys(signatures: NDArray[np.uint32], config: SignaturesConfig) -> Hashes:
    """uint64 [pages, bands] of signatures [pages, num_perm]: equal where all hashes of that band are.

    The number of the band is hashed too, so that keys of different bands meet only by a 64-bit collision.
    """
    bands = signatures.reshape(len(signatures), config.bands, config.rows_per_band)
    return keys_of(bands, np.arange(config.bands))


def keys_of(bands: NDArray[np.uint32], numbers: NDArray[np.int64]) -> Hashes:
    """uint64 [pages, some bands]: keys of the hashes [pages, some bands, rows_per_band] of the bands so numbered."""
    keys = np.broadcast_to(numbers.astype(np.uint64), bands.shape[:2]).copy()
    for column in range(bands.shape[2]):
        keys = (keys ^ bands[:, :, column]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


@cache
def _permutations(num_perm: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    from datasketch import MinHash  # takes scipy along: most of the start of a worker that only writes shards

    both = np.asarray(MinHash(num_perm=num_perm, seed=seed, scheme="affine32").permutations, np.uint32)
    return both[0], both[1]


def _mix(hashes: Shingles) -> Shingles:
    """MurmurHash3's finalizer, which `affine32` puts before its hash functions."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))
