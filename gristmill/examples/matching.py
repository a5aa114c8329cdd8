"""Wrong answers that look as right as the right one: other functions' summaries, matched so that guessing fails.

A wrong answer is the summary of another function of the same package. It shares exactly as many word stems with the
function's name as the right one does, with its last part too, and if possible no fewer whole words and letters. It is
no paraphrase of the right one, and about as long; how many of the wrong answers are shorter is drawn by lot, so that
neither the shortest nor the middle one is the better guess.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gristmill.examples.functions import Function, seeded_digest
from gristmill.examples.overlap import OWN_STEMS, OWN_TRIGRAMS, STEMS, WORDS, Overlap, own_name

MATCHED = (STEMS, OWN_STEMS)
COSTS = {WORDS: 0.5, OWN_TRIGRAMS: 0.3}
"""Per word, or letter trigram, that the right summary has in common with the name and the wrong one has not."""
MAX_LENGTH_RATIO = 2.0
MAX_PARAPHRASE_JACCARD = 0.5
"""Of the stems of two summaries; above it they may both be right."""
REUSE_COST = 0.05
"""Per time a summary was a wrong answer before: none shall be known as one."""
JITTER = 0.4

Counts = NDArray[np.int64]


class Pool:
    """Functions of one package, and for each the others whose summaries could pass for its own."""

    def __init__(self, functions: Sequence[Function], *, seed: int) -> None:
        self.functions = functions
        summaries = [function.summary for function in functions]
        self._postings = {
            features: _postings([features(summary) for summary in summaries])
            for features in {overlap.of_summary for overlap in (*MATCHED, *COSTS)}
        }
        self._stems = [STEMS.of_summary(summary) for summary in summaries]
        self._stem_counts = np.array([len(stems) for stems in self._stems])
        self._log_lengths = np.log([len(summary) for summary in summaries])
        self._own_names = np.array([own_name(function.qualname) for function in functions])
        self._uses = np.zeros(len(functions))
        self._rng = np.random.default_rng(int.from_bytes(seeded_digest(seed, functions[0].package)[:8]))

    def wrong_answers(self, index: int, count: int) -> list[int] | None:
        """Indices of `count` functions for the function at `index`; None when there are not enough."""
        qualname = self.functions[index].qualname
        longer_by = self._log_lengths - self._log_lengths[index]
        passes = (np.abs(longer_by) <= np.log(MAX_LENGTH_RATIO)) & (self._own_names != self._own_names[index])
        for overlap in MATCHED:
            shared = self._shared(overlap, qualname)
            passes &= shared == shared[index]
        cost = REUSE_COST * self._uses + self._rng.uniform(0, JITTER, len(passes))
        for overlap, weight in COSTS.items():
            shared = self._shared(overlap, qualname)
            cost += weight * np.maximum(shared[index] - shared, 0)
        candidates = np.flatnonzero(passes)
        candidates = candidates[np.argsort(cost[candidates], kind="stable")]
        shorter, longer = candidates[longer_by[candidates] < 0], candidates[longer_by[candidates] >= 0]
        for wanted_shorter in self._rng.permutation(count + 1):
            chosen = self._unlike(index, [(shorter, wanted_shorter), (longer, count - wanted_shorter)])
            if chosen:
                self._uses[chosen] += 1
                return chosen
        return None

    def _unlike(self, index: int, wanted: Sequence[tuple[Counts, int]]) -> list[int] | None:
        """So many of each list of candidates, none a paraphrase of the function's summary or of another one chosen."""
        chosen: list[int] = []
        alike = self._alike(index)
        for candidates, count in wanted:
            target = len(chosen) + count
            for candidate in candidates:
                if len(chosen) == target:
                    break
                if not alike[candidate]:
                    chosen.append(int(candidate))
                    alike |= self._alike(int(candidate))
            if len(chosen) < target:
                return None
        return chosen

    def _alike(self, index: int) -> NDArray[np.bool_]:
        """[functions]: whose summary may be a paraphrase of this one's, itself included."""
        shared = self._counts(self._postings[STEMS.of_summary], self._stems[index])
        return shared > MAX_PARAPHRASE_JACCARD * (self._stem_counts + self._stem_counts[index] - shared)

    def _shared(self, overlap: Overlap, qualname: str) -> Counts:
        """[functions]: what each summary has in common with a name."""
        return self._counts(self._postings[overlap.of_summary], overlap.of_name(qualname))

    def _counts(self, postings: dict[str, Counts], features: frozenset[str]) -> Counts:
        """[functions]: how many of the features each summary has."""
        counts = np.zeros(len(self.functions), np.int64)
        for feature in features:
            if feature in postings:
                counts[postings[feature]] += 1
        return counts


def pools(functions: Sequence[Function], *, seed: int) -> list[Pool]:
    """One pool a package, in alphabetical order."""
    packages: defaultdict[str, list[Function]] = defaultdict(list)
    for function in functions:
        packages[function.package].append(function)
    return [Pool(packages[package], seed=seed) for package in sorted(packages)]


def _postings(feature_sets: Sequence[frozenset[str]]) -> dict[str, Counts]:
    """Feature → indices of the sets that have it."""
    postings: defaultdict[str, list[int]] = defaultdict(list)
    for index, features in enumerate(feature_sets):
        for feature in features:
            postings[feature].append(index)
    return {feature: np.array(indices) for feature, indices in postings.items()}
