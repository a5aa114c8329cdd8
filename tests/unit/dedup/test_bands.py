"""Shingles and signatures, against datasketch and Python sets."""

from itertools import pairwise

import numpy as np
import pytest
from datasketch import MinHash

from gristmill.config import PipelineConfig
from gristmill.dedup.bands import band_keys, jaccard, shingles, signature
from gristmill.dedup.config import SignaturesConfig
from gristmill.text.words import word_hashes, words

CONFIG = SignaturesConfig()


def random_pair(seed: int) -> list[np.ndarray]:
    """Two sorted sets of some hundred hashes, a tenth of them different."""
    draws = np.random.default_rng(seed)
    base = draws.integers(0, 2**32, 400, dtype=np.uint32)
    other = np.where(draws.random(400) < 0.05, draws.integers(0, 2**32, 400, dtype=np.uint32), base)
    return [np.unique(base), np.unique(other)]


def test_match_probability_is_the_published_formula():
    # 1 - (1 - 0.8^8)^32 and 1 - (1 - 0.8^8)^14; the second is FineWeb's setting, stated as 92 %
    assert SignaturesConfig().match_probability(0.8) == pytest.approx(0.99720, abs=1e-5)
    assert SignaturesConfig(bands=14).match_probability(0.8) == pytest.approx(0.924, abs=1e-3)
    assert SignaturesConfig().num_perm == 256


def test_bands_that_would_miss_most_pairs_are_refused():
    sources = {"sources": [{"kind": "warc", "name": "a", "paths": ["a.warc.gz"]}]}
    with pytest.raises(ValueError, match=r"find only 4% of the pairs at dedup\.threshold=0\.8"):
        PipelineConfig.model_validate({"ingest": sources, "signatures": {"bands": 1, "rows_per_band": 15}})


def test_a_signature_is_that_of_datasketch():
    for page in random_pair(1):
        sketch = MinHash(num_perm=256, seed=CONFIG.seed, hashfunc=int, scheme="affine32")
        sketch.update_batch(page)
        assert (signature(page, CONFIG) == sketch.hashvalues).all()
    assert (signature(page[:0], CONFIG) == 2**32 - 1).all()


def test_pages_share_a_band_key_exactly_when_their_signatures_agree_on_the_band():
    signatures = np.array([signature(page, CONFIG) for page in random_pair(3)])
    agree = (signatures[0].reshape(32, 8) == signatures[1].reshape(32, 8)).all(axis=1)
    left, right = band_keys(signatures, CONFIG)
    assert ((left == right) == agree).all()
    assert 0 < agree.sum() < 32
    assert len(np.unique([left, right])) == 64 - agree.sum()


def test_jaccard_is_that_of_python_sets():
    left = shingles(word_hashes(words("a b c d e f g a b c")), 2)
    right = shingles(word_hashes(words("b c d e f g h i")), 2)
    pairs = [{*pairwise(text)} for text in ("abcdefgabc", "bcdefghi")]
    assert (len(left), len(right)) == tuple(map(len, pairs))
    assert jaccard(left, right) == len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
    assert jaccard(left, left) == 1
    assert jaccard(left[:0], left[:0]) == 0


def test_a_text_shorter_than_a_shingle_is_one_shingle():
    assert len(shingles(word_hashes(["one", "two"]), 5)) == 1
    assert len(shingles(word_hashes([]), 5)) == 0
