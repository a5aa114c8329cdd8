"""Byte-pair encoding continued: further merges, learned on words that a tokenizer has already cut into tokens.

Each step merges the most frequent pair of neighbouring tokens (Sennrich et al. 2016, arXiv:1508.07909); of equally
frequent ones that which sorts first. A merge that would use up a token learned before is put off until it would not:
every new token is left in some word, and none is only a step on the way to a longer one (the aim of Chizhov et al.
2024, arXiv:2409.04599, without removing tokens, which no byte-pair tokenizer could repeat).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from itertools import pairwise

Pair = tuple[str, str]

MIN_COUNT = 2
"""A pair that stands once is no pattern."""


def continue_merges(
    words: list[list[str]],
    counts: list[int],
    *,
    limit: int,
    taken: Container[str],
    allowed: Callable[[str], bool],
) -> list[Pair]:
    """Learn at most `limit` merges, in their order; fewer when no pair is left that is allowed and stands twice.

    words: the tokens of each distinct word, brought up to date with the merges; counts: how often the word stands in
    the text. taken: names that no new token may have. allowed: whether a name may be that of a new token.
    """
    learner = _Learner(words, counts, taken, allowed)
    while len(learner.merges) < limit and (pair := learner.next_pair()):
        learner.merge(pair)
    return list(learner.merges.values())


class _Learner:
    def __init__(
        self, words: list[list[str]], counts: list[int], taken: Container[str], allowed: Callable[[str], bool]
    ) -> None:
        self.words, self.counts, self.taken, self.allowed = words, counts, taken, allowed
        self.merges: dict[str, Pair] = {}  # new token → the two it is made of
        self.pairs: Counter[Pair] = Counter()
        self.places: dict[Pair, list[int]] = defaultdict(list)  # words that have the pair, or had it once
        self.uses: Counter[str] = Counter()  # of new tokens, in the words as they are now
        self.put_off: set[Pair] = set()
        for number, (word, count) in enumerate(zip(words, counts, strict=True)):
            for pair in pairwise(word):
                self.pairs[pair] += count
                self.places[pair].append(number)
        self.queue = [(-count, pair) for pair, count in self.pairs.items() if self._may_merge(pair)]
        heapq.heapify(self.queue)

    def next_pair(self) -> Pair | None:
        while self.queue:
            negative, pair = heapq.heappop(self.queue)
            count = self.pairs[pair]
            if count < MIN_COUNT or "".join(pair) in self.merges:
                continue
            if count != -negative:  # it has become rarer since
                heapq.heappush(self.queue, (-count, pair))
            elif any(token in self.merges and self.uses[token] <= pair.count(token) * count for token in pair):
                self.put_off.add(pair)
            else:
                return pair
        return None

    def merge(self, pair: Pair) -> None:
        token = "".join(pair)
        self.merges[token] = pair
        changed: set[Pair] = set()
        for number in set(self.places.pop(pair)):
            before, count = self.words[number], self.counts[number]
            after = _merged(before, pair, token)
            self.words[number] = after
            for neighbours in pairwise(before):
                self.pairs[neighbours] -= count
                changed.add(neighbours)
            for neighbours in pairwise(after):
                self.pairs[neighbours] += count
                if token in neighbours:
                    self.places[neighbours].append(number)
                    changed.add(neighbours)
            self._count_uses(before, -count)
            self._count_uses(after, count)
        for neighbours in changed:
            if neighbours in self.put_off or (token in neighbours and self._may_merge(neighbours)):
                self.put_off.discard(neighbours)
                heapq.heappush(self.queue, (-self.pairs[neighbours], neighbours))

    def _may_merge(self, pair: Pair) -> bool:
        name = "".join(pair)
        return name not in self.taken and self.allowed(name)

    def _count_uses(self, word: list[str], count: int) -> None:
        for token in word:
            if token in self.merges:
                self.uses[token] += count


def _merged(word: list[str], pair: Pair, token: str) -> list[str]:
    """The word with the token in place of the pair, from the left, as every byte-pair tokenizer does it."""
    merged: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append(token)
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged
