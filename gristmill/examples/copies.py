"""Whether a text is, but for a few words, one of a set of texts: exact Jaccard of their words, by prefix filtering.

Two sets with Jaccard similarity t share a word among the |A| - ceil(t |A|) + 1 rarest of each (Chaudhuri, Ganti and
Kaushik 2006), so only texts that share a rare word are compared. Nothing is missed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from gristmill.text.words import words


class Copies:
    """Looks up texts among `texts`: equal words, or at least `min_jaccard` of them in common."""

    def __init__(self, texts: Iterable[str], *, min_jaccard: float) -> None:
        self.min_jaccard = min_jaccard
        sets = sorted({frozenset(words(text)) for text in texts}, key=sorted)
        self._frequency = Counter(word for words_of_text in sets for word in words_of_text)
        self._postings: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
        for words_of_text in sets:
            for word in self._rarest(words_of_text):
                self._postings[word].append(words_of_text)

    def __contains__(self, text: str) -> bool:
        sought = frozenset(words(text))
        return any(
            self._are_near(sought, found) for word in self._rarest(sought) for found in self._postings.get(word, ())
        )

    def _are_near(self, one: frozenset[str], other: frozenset[str]) -> bool:
        a, b = len(one), len(other)
        if a < self.min_jaccard * b or b < self.min_jaccard * a:  # even if one held the other
            return False
        shared = len(one & other)
        return shared >= self.min_jaccard * (a + b - shared)

    def _rarest(self, words_of_text: frozenset[str]) -> list[str]:
        by_rarity = sorted(words_of_text, key=lambda word: (self._frequency[word], word))
        return by_rarity[: len(by_rarity) - math.ceil(self.min_jaccard * len(by_rarity)) + 1] if by_rarity else []
