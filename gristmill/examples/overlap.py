"""Guessing without a model: which summary shares most with the function's name, which is shortest.

These counters are the benchmark's baselines, and what its wrong answers are matched against.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STEM_CHARS = 4
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SUMMARY_WORD = re.compile(r"[a-z]+|[0-9]+")

Features = Callable[[str], frozenset[str]]


@dataclass(frozen=True)
class Overlap:
    """How many features a dotted name and a summary have in common, each counted once."""

    of_name: Features
    of_summary: Features

    def __call__(self, qualname: str, summary: str) -> int:
        return len(self.of_name(qualname) & self.of_summary(summary))


def name_words(qualname: str) -> frozenset[str]:
    """The words of a dotted name: split at dots, underscores and capitals."""
    return frozenset(part.lower() for part in _NAME_PART.findall(qualname))


def summary_words(summary: str) -> frozenset[str]:
    return frozenset(_SUMMARY_WORD.findall(summary.lower()))


def stems(words: frozenset[str]) -> frozenset[str]:
    """Words cut to four letters: `normalize` and `norms` meet."""
    return frozenset(word[:STEM_CHARS] for word in words)


def own_name(qualname: str) -> str:
    """The last part: what the function itself is called."""
    return qualname.rpartition(".")[2]


def trigrams(text: str) -> frozenset[str]:
    lowered = text.lower()
    return frozenset(lowered[start : start + 3] for start in range(len(lowered) - 2))


WORDS = Overlap(name_words, summary_words)
STEMS = Overlap(lambda name: stems(name_words(name)), lambda summary: stems(summary_words(summary)))
OWN_STEMS = Overlap(lambda name: stems(name_words(own_name(name))), STEMS.of_summary)
OWN_TRIGRAMS = Overlap(lambda name: trigrams(own_name(name)), trigrams)


def shortness(qualname: str, summary: str) -> int:
    """The same for every function: a shorter summary scores higher."""
    return -len(summary)


def length(qualname: str, summary: str) -> int:
    return len(summary)


BASELINES: dict[str, Callable[[str, str], int]] = {
    "word_overlap": WORDS,
    "overlap_stem": STEMS,
    "overlap_own_name": OWN_STEMS,
    "letter_trigrams": OWN_TRIGRAMS,
    "shortest": shortness,
    "longest": length,
}


def expected_accuracy(score: Callable[[str, str], int], items: Sequence[tuple[str, Sequence[str], int]]) -> float:
    """Share of items (qualname, choices, answer) whose answer scores highest; in a tie of k choices it counts 1/k."""
    won = 0.0
    for qualname, choices, answer in items:
        scores = [score(qualname, choice) for choice in choices]
        if scores[answer] == max(scores):
            won += 1 / scores.count(scores[answer])
    return won / len(items) if items else 0.0
