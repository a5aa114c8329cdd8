"""Signatures and groups, against datasketch on whole pages, and against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from datasketch import MinHash

from gristmill.dedup.bands import Components, band_keys, empty_sketch, jaccard, keepers, shingles, verified_groups
from gristmill.dedup.config import MinHashConfig
from gristmill.text.words import word_hashes, words

CONFIG = MinHashConfig()


def random_sets(count: int, *, seed: int) -> list[np.ndarray]:
    """Sorted sets of 60 to 600 hashes, in pairs whose similarity spreads over 0.5 to 1."""
    draws = np.random.default_rng(seed)
    sets = []
    for _ in range(count // 2):
        base = np.unique(draws.integers(0, 2**63, draws.integers(60, 600), dtype=np.uint64))
        keep = draws.random(len(base)) > draws.uniform(0, 0.3)
        added = draws.integers(0, 2**63, int(len(base) * draws.uniform(0, 0.2)), dtype=np.uint64)
        sets += [base, np.unique(np.concatenate([base[keep], added]))]
    return sets


def test_match_probability_is_the_published_formula():
    # 1 - (1 - 0.8^8)^32 and 1 - (1 - 0.8^8)^14; the second is FineWeb's setting, stated as 92 %
    assert MinHashConfig().match_probability(0.8) == pytest.approx(0.99720, abs=1e-5)
    assert MinHashConfig(bands=14).match_probability(0.8) == pytest.approx(0.924, abs=1e-3)
    assert MinHashConfig().num_perm == 256


def test_bands_that_would_miss_most_pairs_are_refused():
    with pytest.raises(ValueError, match="find only 4% of the pairs"):
        MinHashConfig(bands=1, rows_per_band=15)


def test_pages_share_a_band_key_exactly_when_datasketch_signatures_agree_on_the_band():
    left, right = random_sets(2, seed=3)
    signatures = []
    for page in (left, right):
        sketch = MinHash(num_perm=256, seed=CONFIG.seed, hashfunc=int, scheme="affine32")
        sketch.update_batch(page.astype(np.uint32))
        signatures.append(sketch.hashvalues.reshape(32, 8))
    agree = (signatures[0] == signatures[1]).all(axis=1)
    empty = empty_sketch(CONFIG)
    assert ((band_keys(left, empty, CONFIG) == band_keys(right, empty, CONFIG)) == agree).all()
    assert 0 < agree.sum() < 32


def test_pairs_above_the_threshold_are_found_and_no_others():
    sets = random_sets(600, seed=5)
    empty = empty_sketch(CONFIG)
    keys = np.array([band_keys(page, empty, CONFIG) for page in sets])
    groups, compared = verified_groups(keys, lambda i, j: jaccard(sets[i], sets[j]), 0.8)
    true = {(i, i + 1) for i in range(0, 600, 2) if jaccard(sets[i], sets[i + 1]) >= 0.8}
    found = {tuple(group) for group in groups}
    assert len(true) > 100
    assert found <= true
    assert len(found) >= 0.99 * len(true)
    assert compared < 600


def test_jaccard_is_that_of_python_sets():
    left = shingles(word_hashes(words("a b c d e f g")), 2)
    right = shingles(word_hashes(words("b c d e f g h i")), 2)
    pairs = [{*pairwise(text)} for text in ("abcdefg", "bcdefghi")]
    assert jaccard(left, right) == len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
    assert jaccard(left, left) == 1
    assert jaccard(left[:0], left[:0]) == 0


def test_a_text_shorter_than_a_shingle_is_one_shingle():
    assert len(shingles(word_hashes(["one", "two"]), 5)) == 1
    assert len(shingles(word_hashes([]), 5)) == 0


def test_groups_do_not_depend_on_the_order_of_their_edges():
    edges = [(0, 4), (4, 2), (5, 6), (9, 0)]
    for order in (edges, edges[::-1], [(b, a) for a, b in edges]):
        components = Components(10)
        for left, right in order:
            components.join(left, right)
        assert components.groups() == [[0, 2, 4, 9], [5, 6]]


def test_a_page_that_only_a_chain_connects_stays_and_a_drop_names_the_most_similar_kept_page():
    similarities = {(1, 0): 0.85, (2, 0): 0.7, (3, 0): 0.8, (3, 2): 0.9}
    drops = list(keepers([0, 1, 2, 3], lambda page, kept: similarities[page, kept], 0.8))
    assert drops == [(1, 0, 0.85), (3, 2, 0.9)]


def test_a_large_cluster_costs_few_comparisons():
    keys = np.zeros((2000, 4), np.uint64)
    groups, compared = verified_groups(keys, lambda i, j: 1.0, 0.8)
    assert groups == [list(range(2000))]
    assert compared == 1999
