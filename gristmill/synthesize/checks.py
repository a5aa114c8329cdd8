"""Why a written row is not kept: each check names one reason, the first that applies is counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from gristmill.align.online.rewards import repetition
from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.item_files import read_items
from gristmill.dedup.rows import item_files
from gristmill.judge.templates import shows_marks
from gristmill.synthesize.config import SynthesizeConfig
from gristmill.text.config import LanguageConfig
from gristmill.text.language import LanguageIdentifier
from gristmill.text.words import ngram_hashes, word_hashes, words


@dataclass(frozen=True)
class Written:
    """A question and an answer. fault: why what was written is no whole text."""

    question: str
    answer: str
    fault: str = ""

    @property
    def text(self) -> str:
        return f"{self.question}\n{self.answer}"


@dataclass
class Checks:
    """Remembers what was kept, so that a later row is compared with it too."""

    config: SynthesizeConfig
    leaks: frozenset[int]
    """Hashes of the benchmark items' n-grams of `leak_words` words."""
    known: list[frozenset[tuple[str, ...]]]
    """Word pairs of each seed's question, then of each kept row's."""
    _identifier: LanguageIdentifier = field(default_factory=lambda: LanguageIdentifier(LanguageConfig()))

    def fault(self, row: Written, seed: Written) -> str | None:
        """None for a row that is kept."""
        config = self.config
        if row.fault:
            return row.fault
        if not row.question or not row.answer:
            return "empty"
        if shows_marks(row.text):
            return "shows_marks"
        if self._identifier.identify(row.text)[0] != config.language:
            return "language"
        ratio = len(row.text) / len(seed.text)
        if not config.min_length_ratio <= ratio <= config.max_length_ratio:
            return "length_ratio"
        if max(repetition(row.question), repetition(row.answer)) > config.max_repetition:
            return "repetitive"
        pairs = word_pairs(row.question)
        if any(_jaccard(pairs, other) >= config.max_similarity for other in self.known):
            return "duplicate"
        if not self.leaks.isdisjoint(_ngrams(row.text, config.leak_words)):
            return "benchmark_leak"
        self.known.append(pairs)
        return None


def item_ngrams(examples: Path, benchmarks: DecontaminateConfig, *, length: int) -> frozenset[int]:
    """Of the held-out examples and of all benchmarks. An item shorter than `length` words has none."""
    files = item_files(examples, benchmarks)
    texts = (text for file in files for item in read_items(file) for text in item.texts)
    return frozenset(hashed for text in texts for hashed in _ngrams(text, length))


def word_pairs(text: str) -> frozenset[tuple[str, ...]]:
    """Neighbouring words; of a single word itself."""
    found = words(text)
    return frozenset(pairwise(found)) or frozenset([tuple(found)])


def _ngrams(text: str, length: int) -> Iterable[int]:
    return np.unique(ngram_hashes(word_hashes(words(text)), length)).tolist()


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)
