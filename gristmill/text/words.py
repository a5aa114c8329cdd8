"""Texts as sequences of hashed words: one cheap tokenization for duplicates, contamination and split indexes.

A word is a run of letters and digits, whatever its case; scripts written without spaces count each character.
A real tokenizer takes four fifths of the time of MinHash elsewhere and finds no more duplicates.
"""

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# Thai, Lao, Burmese, Khmer, kana, Han: written without spaces, so that `\w+` would take a sentence for a word
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_NO_WORD_IN_ASCII = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def words(text: str) -> list[str]:
    """The words of a text, compatibility-normalized and case-folded, without punctuation."""
    if text.isascii():  # a third of the time
        return text.lower().translate(_NO_WORD_IN_ASCII).split()
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def text_hash(text: str) -> str:
    """16 hex digits, equal for texts of equal words. A text without words is compared as it is, stripped."""
    normalized = " ".join(words(text)) or text.strip()
    return hashlib.blake2b(normalized.encode(), digest_size=8).hexdigest()


def word_hashes(sequence: list[str]) -> Hashes:
    """uint64 [words], in order: 64 bits of BLAKE2b for each word."""
    table = {
        word: int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") for word in set(sequence)
    }
    return np.fromiter((table[word] for word in sequence), np.uint64, len(sequence))


def ngram_hashes(hashes: Hashes, n: int) -> Hashes:
    """uint64 [max(words - n + 1, 0)], in order: a polynomial of the n word hashes, modulo 2^64."""
    count = max(len(hashes) - n + 1, 0)
    result = np.zeros(count, np.uint64)
    for offset in range(n):
        result = result * _MULTIPLIER + hashes[offset : offset + count]
    return result
