"""Words and their hashes."""

import hashlib

import numpy as np

from gristmill.text.words import ngram_hashes, text_hash, word_hashes, words


def test_words_are_letters_and_digits_without_case_and_punctuation():
    assert words("Hello, WORLD-wide x_1!") == ["hello", "world", "wide", "x_1"]
    assert words("Straße ﬁne") == ["strasse", "fine"]


def test_scripts_without_spaces_count_characters():
    assert words("日本語 text") == ["日", "本", "語", "text"]
    assert len(words("สวัสดี")) > 3


def test_texts_of_equal_words_have_equal_hashes():
    assert text_hash("A  b,\nc") == text_hash("a b c!") != text_hash("a b d")
    assert text_hash("…") != text_hash("!?")


def test_word_hashes_are_blake2b():
    expected = int.from_bytes(hashlib.blake2b(b"word", digest_size=8).digest(), "little")
    assert word_hashes(["word"]).tolist() == [expected]


def test_ngrams_hash_their_words_in_order_wherever_they_stand():
    hashes = word_hashes(list("xabcabcb"))
    ngrams = ngram_hashes(hashes, 3)
    assert len(ngrams) == 6
    assert ngrams[1] == ngrams[4]
    assert len(np.unique(ngrams)) == 5
    assert len(ngram_hashes(hashes[:2], 3)) == 0


def test_ascii_is_cut_into_the_words_that_other_text_is_cut_into():
    text = "".join(chr(code) + "x" for code in range(128)) + " A_b C3-po\r\nI'm 'x'"
    assert words(text) == words(text + " é")[:-1]
    assert len(words(text)) > 60
