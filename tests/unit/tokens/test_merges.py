"""Continued byte-pair encoding, against the plain algorithm that counts all pairs anew at each step."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from gristmill.tokens.merges import continue_merges


def plain(words: list[list[str]], counts: list[int], limit: int, taken: set[str], allowed) -> list[tuple[str, str]]:
    """The rules as they are stated, without any data structure to make them fast."""
    words, merges, new = [list(word) for word in words], [], set()
    while len(merges) < limit:
        pairs, uses = Counter(), Counter()
        for word, count in zip(words, counts, strict=True):
            for pair in pairwise(word):
                pairs[pair] += count
            for token in word:
                uses[token] += count
        candidates = [
            (-count, pair)
            for pair, count in pairs.items()
            if count >= 2
            and "".join(pair) not in taken | new
            and allowed("".join(pair))
            and all(token not in new or uses[token] > pair.count(token) * count for token in pair)
        ]
        if not candidates:
            break
        _, pair = min(candidates)
        merges.append(pair)
        new.add("".join(pair))
        for word in words:
            position = 0
            while position < len(word) - 1:
                if (word[position], word[position + 1]) == pair:
                    word[position : position + 2] = ["".join(pair)]
                position += 1
    return merges


@pytest.mark.parametrize("seed", range(20))
def test_the_merges_are_those_of_the_plain_algorithm(seed: int):
    draws = random.Random(seed)
    letters = "abcd"[: draws.randint(2, 4)]
    words = sorted({"".join(draws.choices(letters, k=draws.randint(1, 9))) for _ in range(40)})
    cut = [list(word) for word in words]
    counts = [draws.randint(1, 20) for _ in words]
    taken, banned = {"ab", "cc"}, {"ba", "aab"}
    expected = plain(cut, counts, 60, taken, lambda name: name not in banned)
    learned = continue_merges(cut, counts, limit=60, taken=taken, allowed=lambda name: name not in banned)
    assert learned == expected
    assert len(learned) > 3
    assert ["".join(word) for word in cut] == words
    assert {"".join(pair) for pair in learned} <= {token for word in cut for token in word}


def test_a_token_is_not_used_up_by_a_longer_one():
    words = [list("abc"), list("abd"), list("abe")]
    # "ab" is made of all three words; "abc" and "abd" leave it in the third, which "abe" would not
    assert continue_merges(words, [5, 4, 3], limit=9, taken=(), allowed=lambda name: True) == [
        ("a", "b"),
        ("ab", "c"),
        ("ab", "d"),
    ]
    assert words == [["abc"], ["abd"], ["ab", "e"]]


def test_pairs_that_stand_once_are_left_alone():
    assert continue_merges([list("ab"), list("cd")], [1, 2], limit=9, taken=(), allowed=lambda name: True) == [
        ("c", "d")
    ]
