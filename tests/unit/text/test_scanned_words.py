"""Hashes of words without the words: cut as gristmill.text.words cuts, equal exactly for equal words."""

import random
import sys

import numpy as np
import pytest

from gristmill.text import scanned_words
from gristmill.text.scanned_words import scanned_word_hashes, text_key
from gristmill.text.words import words

TEXTS = [
    "",
    "...",
    "A single-line, with_underscores and 3.14 digits²",
    "Ärger über STRASSE/Straße, ﬁne ＦＵＬＬ width, e\u0301 combined",
    "Привет, Мир — привіт!\nالسلام عليكم",
    "日本語のテキスト and English。สวัสดี ក ລາວ 漢字kana",
    "emoji 👩\u200d👩 x\U0001d538y \ud800 lone",
    "a\u0130b İstanbul",
]


def test_the_cut_is_that_of_words_and_hashes_differ_exactly_where_words_do():
    draws = random.Random(0)
    letters = [chr(draws.randrange(sys.maxunicode)) for _ in range(30_000)]
    texts = [
        *TEXTS,
        "".join(letters),
        " ".join(draws.choices("abcdefgh", k=500)),
        *map("".join, zip(*[iter(letters)] * 7, strict=False)),
    ]
    known: dict[str, int] = {}
    for text in texts:
        found = words(text)
        hashes = scanned_word_hashes(text)
        assert len(hashes) == len(found), repr(text)
        for word, hashed in zip(found, hashes.tolist(), strict=True):
            assert known.setdefault(word, hashed) == hashed
    assert len(set(known.values())) == len(known) > 3_000
    assert len({hashed & 0xFFFFFFFF for hashed in known.values()}) >= len(known) - 1


def test_words_of_the_same_letters_have_different_hashes():
    hashes = scanned_word_hashes("ab ba abab aabb a aa aaa b bb")
    assert len(np.unique(hashes)) == 9


@pytest.mark.parametrize("block", [1, 5, 64])
def test_a_long_text_in_blocks_has_the_hashes_of_the_whole(monkeypatch, block):
    text = " ".join(TEXTS) * 3
    whole = scanned_word_hashes(text).tolist()
    monkeypatch.setattr(scanned_words, "_BLOCK_CHARS", block)
    assert scanned_word_hashes(text).tolist() == whole


def test_text_keys_are_equal_exactly_for_equal_words():
    keys = [
        text_key(scanned_word_hashes(text), text) for text in ("One two.", "one, TWO", "one two three", "", " ", "—")
    ]
    assert keys[0] == keys[1]
    assert keys[3] == keys[4]
    assert len(set(keys)) == 4
