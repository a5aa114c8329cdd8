"""Repetition inside one text: duplicate lines, frequent and duplicate word n-grams (Gopher, arXiv:2112.11446, A.1.1).

n-grams are compared as exact sequences of words, never as hashes. Those of n + 1 words are looked for only where those
of n words repeat, so the work shrinks with n on a usual text.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

TOP_NGRAMS = (2, 3, 4)
DUP_NGRAMS = (5, 6, 7, 8, 9, 10)

Integers = NDArray[np.int64]


def duplicates(parts: Iterable[str]) -> tuple[int, int]:
    """(parts, characters) that occurred before, such as the second and third of three equal lines."""
    seen: set[str] = set()
    count = chars = 0
    for part in parts:
        if part in seen:
            count += 1
            chars += len(part)
        seen.add(part)
    return count, chars


def ngram_repetition(words: list[str], *, text_chars: int) -> dict[str, float]:
    """Shares of a text's characters in repeated word n-grams.

    `top_{n}gram_char_ratio`: the most frequent n-gram's characters, spaces included, times its occurrences; of several
    the first. `dup_{n}gram_char_ratio`: characters, spaces left out, of n-grams that occurred before, reading from
    left to right and counting no character twice.
    """
    text = _Text(words)
    signals: dict[str, float] = {}
    for n in range(1, max(DUP_NGRAMS) + 1):
        text.narrow_to_repeated_ngrams(n)
        if n in TOP_NGRAMS:
            signals[f"top_{n}gram_char_ratio"] = text.top_ngram_chars(n) / max(1, text_chars)
        if n in DUP_NGRAMS:
            signals[f"dup_{n}gram_char_ratio"] = text.dup_ngram_chars(n) / max(1, text_chars)
    return signals


class _Text:
    """The words as numbers, and the places where n-grams repeat.

    starts, ngrams: for each place whose n-gram occurs more than once, in order, its first word and its n-gram.
    """

    def __init__(self, words: list[str]) -> None:
        numbers: dict[str, int] = {}
        self.word = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.int64, len(words))
        self.vocabulary = len(numbers)
        self.chars_before = np.concatenate([[0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))])
        self.starts: Integers = np.arange(len(words))
        self.ngrams: Integers = np.zeros(len(words), np.int64)

    def narrow_to_repeated_ngrams(self, n: int) -> None:
        """Go on from the n-grams of n - 1 words."""
        if n == 1:  # words are numbered already
            repeated = np.bincount(self.word)[self.word] > 1
            self.starts, self.ngrams = self.starts[repeated], self.word[repeated]
            return
        inside = self.starts + n <= len(self.word)
        starts = self.starts[inside]
        ngrams = self.ngrams[inside] * self.vocabulary + self.word[starts + n - 1]
        _, numbered, counts = np.unique(ngrams, return_inverse=True, return_counts=True)
        repeated = counts[numbered] > 1
        self.starts, self.ngrams = starts[repeated], numbered[repeated]

    def top_ngram_chars(self, n: int) -> int:
        if n > len(self.word):
            return 0
        if len(self.starts) == 0:  # all occur once: the first one
            return self._chars(0, n) + n - 1
        counts = np.bincount(self.ngrams)
        first = int(self.starts[np.argmax(counts[self.ngrams])])
        return (self._chars(first, n) + n - 1) * int(counts.max())

    def dup_ngram_chars(self, n: int) -> int:
        seen: set[int] = set()
        chars = free_from = 0
        for start, ngram in zip(self.starts.tolist(), self.ngrams.tolist(), strict=True):
            if start < free_from:
                continue
            if ngram in seen:
                chars += self._chars(start, n)
                free_from = start + n
            seen.add(ngram)
        return chars

    def _chars(self, start: int, n: int) -> int:
        return int(self.chars_before[start + n] - self.chars_before[start])
