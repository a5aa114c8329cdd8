"""The counters against hand arithmetic; the copy index against comparing everything."""

import random

import pytest

from gristmill.examples.copies import Copies
from gristmill.examples.overlap import (
    OWN_STEMS,
    OWN_TRIGRAMS,
    STEMS,
    WORDS,
    expected_accuracy,
    length,
    name_words,
    shortness,
)


def test_names_are_split_at_dots_underscores_and_capitals():
    assert name_words("sklearn.linear_model.SGDClassifier.partial_fit2") == {
        *("sklearn", "linear", "model", "sgd", "classifier", "partial", "fit", "2")
    }


@pytest.mark.parametrize(
    ("overlap", "shared"),
    [(WORDS, 1), (STEMS, 2), (OWN_STEMS, 1), (OWN_TRIGRAMS, 4)],
)
def test_overlaps_by_hand(overlap, shared):
    # whole word: vector; stems: vect, norm; of the last part: norm; its trigrams found: nor, orm, rma, mal
    assert overlap("demo.vector.normalize", "Return the normal of a vector.") == shared


def test_a_tie_counts_as_the_chance_to_win_it():
    items = [("f", ["aa", "b", "cc"], 0), ("f", ["aa", "b", "cc"], 1)]
    assert expected_accuracy(length, items) == pytest.approx((1 / 2 + 0) / 2)
    assert expected_accuracy(shortness, items) == pytest.approx((0 + 1) / 2)
    assert expected_accuracy(WORDS, items) == pytest.approx(1 / 3)


def test_copies_are_those_that_comparing_every_pair_finds():
    rng = random.Random(0)
    vocabulary = [f"w{number}" for number in range(14)]
    texts = [" ".join(rng.sample(vocabulary, rng.randint(1, 9))) for _ in range(300)]
    held, sought = texts[:150], texts[150:]
    index = Copies(held, min_jaccard=0.7)

    def has_copy(text: str) -> bool:
        a = set(text.split())
        return any(len(a & set(other.split())) / len(a | set(other.split())) >= 0.7 for other in held)

    found = [text in index for text in sought]
    assert found == [has_copy(text) for text in sought]
    assert 10 < sum(found) < 140


def test_case_and_punctuation_do_not_hide_a_copy():
    index = Copies(["Return the norm of a vector."], min_jaccard=1.0)
    assert "return THE norm, of a vector" in index
    assert "Return the norm of a matrix." not in index
