"""Damaged answers show their fault and nothing else."""

from collections import Counter

import pytest

from gristmill.examples.damage import FAULTS, REPEATS, damaged

TEXTS = [f"Return the number {number} of all items in the list of open files." for number in range(60)]


def test_every_fault_is_what_it_is_called():
    found = [(text.split(), *damaged(text, seed=0)) for text in TEXTS]
    assert set(Counter(fault for _, _, fault in found)) == set(FAULTS)
    for words, wrong, fault in found:
        if fault == "cut":
            assert words[: len(wrong.split())] == wrong.split()
            assert len(words) // 4 <= len(wrong.split()) < len(words) * 3 / 4
        elif fault == "shuffled":
            assert wrong.split() != words
            assert Counter(wrong.split()) == Counter(words)
        else:
            last = wrong.split()
            assert any(last[-length * REPEATS :] == last[-length:] * REPEATS for length in (2, 3))


def test_the_same_seed_damages_in_the_same_way_and_another_in_another():
    first = [damaged(text, seed=0) for text in TEXTS]
    assert first == [damaged(text, seed=0) for text in TEXTS]
    assert first != [damaged(text, seed=1) for text in TEXTS]


def test_too_few_words_are_refused():
    with pytest.raises(ValueError, match="fewer than 4 words"):
        damaged("Return it now.", seed=0)
