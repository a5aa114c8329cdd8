"""Two readings of a text: as words, and as words and symbols. In the one sentences are looked for, in the other what
has hardly any words: brackets to close, sums, steps of a calculation.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gristmill.text.words import UNSPACED, Hashes, word_hashes, words

_WORD_OR_SYMBOL = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
# symbols that prose is full of; they count as words do
_PROSE = frozenset(",.;:!?'\"“”„‘’«»…–—")
_REMEMBERED = 1 << 18


@dataclass(frozen=True)
class View:
    """tokenize: a text's tokens in order. telling(tokens, n): for each n-gram whether this view looks for it.
    min_telling_ratio: texts with a smaller share of such n-grams are left to the other view."""

    tokenize: Callable[[str], list[str]]
    telling: Callable[[list[str], int], NDArray[np.bool_]]
    min_telling_ratio: float


def words_and_symbols(text: str) -> list[str]:
    """The words of a text, normalized as in `words`, and each character between them that is no space."""
    return _WORD_OR_SYMBOL.findall(unicodedata.normalize("NFKC", text).casefold())


def _not_mostly_numbers(tokens: list[str], n: int) -> NDArray[np.bool_]:
    """At most half of the n-gram is numbers: printed arrays meet calendars and tables everywhere."""
    return _count(tokens, n, str.isdecimal) <= n // 2


def _mostly_symbols(tokens: list[str], n: int) -> NDArray[np.bool_]:
    """At least three quarters of the n-gram is symbols or numbers, a quarter symbols: the rest is the words' part."""
    no_symbols = _count(tokens, n, lambda token: token[0].isalnum() or token[0] == "_" or token in _PROSE)
    numbers = _count(tokens, n, str.isdecimal)
    return (4 * (no_symbols - numbers) <= n) & (4 * no_symbols <= 3 * n)


def _count(tokens: list[str], n: int, of: Callable[[str], bool]) -> NDArray[np.int64]:
    """[n-grams]: how many tokens of each are such."""
    up_to = np.cumsum([0, *map(of, tokens)])
    return up_to[n:] - up_to[: max(len(up_to) - n, 0)]


VIEWS: Mapping[str, View] = {
    "words": View(words, _not_mostly_numbers, min_telling_ratio=0),
    "symbols": View(words_and_symbols, _mostly_symbols, min_telling_ratio=0.1),
}


class Reader:
    """Texts as hashes of their tokens. Tokens are remembered: most of a page's words stood on the pages before."""

    def __init__(self, view: View) -> None:
        self._tokenize = view.tokenize
        self._hashes: dict[str, int] = {}

    def hashes(self, text: str) -> Hashes:
        """uint64 [tokens]"""
        return self._hashed(self._tokenize(text))

    def lines(self, text: str) -> tuple[Hashes, NDArray[np.int64]]:
        """(hashes [tokens], for each the number of its line)"""
        by_line = [self._tokenize(line) for line in text.split("\n")]
        tokens = self._hashed(list(chain.from_iterable(by_line)))
        return tokens, np.repeat(np.arange(len(by_line)), [len(line) for line in by_line])

    def _hashed(self, tokens: list[str]) -> Hashes:
        if len(self._hashes) > _REMEMBERED:
            self._hashes.clear()
        if new := list(set(tokens).difference(self._hashes)):
            self._hashes.update(zip(new, word_hashes(new).tolist(), strict=True))
        return np.fromiter(map(self._hashes.__getitem__, tokens), np.uint64, len(tokens))
