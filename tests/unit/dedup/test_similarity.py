"""Similarities of many pairs read from disk, against Python sets."""

import random

import numpy as np
import pytest

from gristmill.dedup.components import merge
from gristmill.dedup.config import SignaturesConfig
from gristmill.dedup.signatures import Signatures, run_signatures
from gristmill.dedup.similarity import ShingleSets, shingle_starts
from gristmill.text.words import words


@pytest.fixture
def texts() -> list[str]:
    draws = random.Random(4)
    return [" ".join(draws.choices("abcdef", k=draws.choice([0, 1, 3, 8, 30]))) for _ in range(60)]


def python_set(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    n = min(5, max(len(found), 1))
    return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}


@pytest.mark.parametrize("memory_bytes", [1, 4096, 1 << 20])
def test_similarities_are_those_of_python_sets_whatever_the_memory(write_documents, tmp_path, texts, memory_bytes):
    (tmp_path / "out").mkdir()
    documents = write_documents("documents", [{"text": text} for text in texts], shards=3)
    run_signatures(documents, tmp_path / "out", SignaturesConfig())
    signatures = Signatures.open([tmp_path / "out"])
    (counts,) = signatures.facts("shingles")
    sets = ShingleSets(signatures, shingle_starts(counts), memory_bytes=memory_bytes)
    in_order = [python_set(text) for shard in range(3) for text in texts[shard::3]]
    left, right = (index.ravel() for index in np.indices((60, 60)))
    expected = [
        len(in_order[i] & in_order[j]) / max(len(in_order[i] | in_order[j]), 1)
        for i, j in zip(left, right, strict=True)
    ]
    assert sets.similarities(left, right) == pytest.approx(expected)
    bounded = sets.similarities(left, right, at_least=0.5)
    assert bounded[np.array(expected) >= 0.5] == pytest.approx(np.array(expected)[np.array(expected) >= 0.5])
    assert sets.read(7).tolist() == sorted(set(sets.read(7).tolist()))


def test_components_do_not_depend_on_the_order_of_edges():
    edges = [(0, 4), (4, 2), (5, 6), (9, 0), (6, 5), (3, 3)]
    for order in (edges, edges[::-1], [(b, a) for a, b in edges]):
        one_by_one, at_once = np.arange(10), np.arange(10)
        for left, right in order:
            merge(one_by_one, np.array([left]), np.array([right]))
        merge(at_once, *np.array(order).T)
        assert one_by_one.tolist() == at_once.tolist() == [0, 1, 0, 3, 0, 5, 5, 7, 8, 0]
