"""Which items a page holds: runs of an item's words that tell enough, and passages with most of its rare n-grams.

What a run tells is measured in bits, by a bigram model of the words on pages and in items (Dirichlet smoothing: Zhai
and Lafferty 2004): a common phrase is one whose words follow each other everywhere. A run that more pages and items
hold than it has words says nothing about one of them. n-grams weigh 1 / pages and items.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.items import Hits, Indices, ItemIndex, rows_of
from gristmill.text.words import Hashes, ngram_hashes

# what stands within this many n-gram lengths of words is one passage: an item interrupted by a sentence stays whole
_GAP_IN_NGRAMS = 4
# weight of a word's own frequency against what it follows; of 1, 10 and 100 the one that tells phrases apart best
_SMOOTHING = 10
# as if so many words had been read: where few were, nothing is known to be common
_FEWEST_WORDS = 1 << 16


@dataclass(frozen=True)
class Match:
    """An item found in the words `start` to `stop` (exclusive) of a page.

    rule: `run`, `overlap`, `whole` or `summary`. words: of its longest run. overlap: weighted share of the n-grams of
    one of its texts that stand in this passage; None for a summary. threshold: what would have been kept.
    """

    start: int
    stop: int
    item: int
    rule: str
    words: int
    overlap: float | None
    threshold: str

    @property
    def value(self) -> str:
        """What was measured, for the verdict."""
        if self.overlap is None:
            return "its summary"
        return f"{self.words} words, overlap {self.overlap:.2f}"


@dataclass(frozen=True)
class Rarity:
    """How common the parts of an index are, on the pages that may train and among the items."""

    pages: Indices
    """[ngrams]: pages that hold it, at least 1: a leak's own page."""
    weights: NDArray[np.float64]
    """[ngrams]: 1 / pages and items that hold it, one of these not counted."""
    phrase_pages: Indices
    word_bits: NDArray[np.float32]
    """[words]: -log2 of a word's probability."""
    pair_bits: NDArray[np.float32]
    """[pairs]: -log2 of the second word's probability after the first."""
    totals: NDArray[np.float64]
    """[texts]: sum of the weights of the text's n-grams."""


@dataclass(frozen=True)
class PageCounts:
    """What a count over pages found. [ngrams] and [phrases]: pages that hold it. [words] and [pairs]: how often it
    stands on pages outside of them: a leak must not make itself common."""

    ngrams: Indices
    phrases: Indices
    words: Indices
    pairs: Indices


def measure_rarity(index: ItemIndex, counts: PageCounts) -> Rarity:
    """Rarity of everything in the index."""
    pages = np.maximum(counts.ngrams, 1)
    weights = 1 / (pages + index.items_with - 1)
    of_holders = np.repeat(weights, np.diff(index.bounds))
    totals = np.bincount(index.holders, of_holders, minlength=len(index.text_items)).astype(np.float64)
    # one occurrence is the item's own
    words, pairs = index.word_counts + counts.words, np.maximum(index.pair_counts + counts.pairs - 1, 0)
    probability = np.maximum(words, 1) / max(words.sum() + len(words), _FEWEST_WORDS)
    first, second = index.pair_words.T
    followed = (pairs + _SMOOTHING * probability[second]) / (np.maximum(words[first] - 1, 0) + _SMOOTHING)
    return Rarity(
        pages=pages,
        weights=weights,
        phrase_pages=np.maximum(counts.phrases, 1),
        word_bits=-np.log2(probability, dtype=np.float32),
        pair_bits=-np.log2(followed, dtype=np.float32),
        totals=totals,
    )


@dataclass(frozen=True)
class _Run:
    """Consecutive words of one item. pages, items: how many of them hold its rarest n-gram."""

    words: int
    pages: int
    items: int
    bits: float


class Matcher:
    """An index that knows how much each of its parts says about an item.

    however_common: half of the n-grams of an item's text are found however many pages hold them.
    """

    def __init__(
        self, index: ItemIndex, rarity: Rarity, config: DecontaminateConfig, *, however_common: bool = False
    ) -> None:
        self.index, self.rarity, self.config, self.however_common = index, rarity, config, however_common
        self._sizes = np.bincount(index.holders, minlength=len(index.text_items))

    def matches(self, page: Hashes, *, item: int | None = None) -> list[Match]:
        """All items found in a page given as word hashes, by place; they may overlap. item: the only one looked for."""
        hits = self.index.hits(page)
        if not hits:
            return []
        bits = self._bits_within(page)
        found = [*self._phrases(hits, bits), *self._passages(hits, bits, item)]
        return sorted(found, key=lambda match: (match.start, -match.stop, match.item))

    def _phrases(self, hits: Hits, bits: Callable[[int, int], float]) -> Iterator[Match]:
        """Every verbatim occurrence of a summary, or of a whole short item that tells enough."""
        bounds = self.index.phrase_bounds
        for start, phrase in zip(hits.phrase_positions.tolist(), hits.phrases.tolist(), strict=True):
            stop = start + int(bounds[phrase + 1] - bounds[phrase])
            pages, items = int(self.rarity.phrase_pages[phrase]), int(self.index.phrase_copies[phrase])
            run = _Run(stop - start, pages, items, bits(start, stop))
            is_summary = bool(self.index.phrase_is_summary[phrase])
            if is_summary or self._tells(run, share=1.0):
                owner = int(self.index.phrase_owners[phrase])
                rule, overlap = ("summary", None) if is_summary else ("whole", 1.0)
                yield Match(start, stop, owner, rule, run.words, overlap, f"no {rule}")

    def _passages(self, hits: Hits, bits: Callable[[int, int], float], sought: int | None) -> Iterator[Match]:
        """Passages that hold a telling run of the words of one text of an item, or most of its weighted n-grams."""
        n = self.config.ngram_words
        texts, positions, ngrams = self._by_text(hits, sought)
        # 2^33 words lie between two texts, so that no passage holds the hits of both
        apart = (texts.astype(np.int64) << 33) + positions
        for first, last in _stretches(apart, max_step=_GAP_IN_NGRAMS * n):
            place, inside = positions[first : last + 1], ngrams[first : last + 1]
            runs = []
            for begin, end in _stretches(place, max_step=1):
                start, stop = int(place[begin]), int(place[end]) + n
                ngrams_of_run = inside[begin : end + 1]
                pages = int(self.rarity.pages[ngrams_of_run].min())
                items = int(self.index.items_with[ngrams_of_run].min())
                runs.append(_Run(stop - start, pages, items, bits(start, stop)))
            text = int(texts[first])
            held = np.unique(inside)
            overlap = float(self.rarity.weights[held].sum() / self.rarity.totals[text])
            share = len(held) / int(self._sizes[text])
            span = (int(place[0]), int(place[-1]) + n, int(self.index.text_items[text]))
            if telling := [run for run in runs if self._tells(run, share=share)]:
                longest = max(telling, key=lambda run: run.words)
                yield Match(*span, "run", longest.words, overlap, f"{self._kept_words(longest)} words")
            elif overlap >= self.config.max_overlap and self._tells(_together(runs), share=share):
                words = max(run.words for run in runs)
                yield Match(*span, "overlap", words, overlap, f"overlap {self.config.max_overlap}")

    def _tells(self, run: _Run, *, share: float) -> bool:
        """Whether a run of this length, that so many hold, says something about its item. share: of the text's n-grams,
        that its passage holds."""
        pages = 1 if self.however_common and share >= 0.5 else run.pages
        not_of_many = run.words >= max(pages, run.items) or run.words > self.config.max_boilerplate_words
        return not_of_many and run.bits > self.config.max_bits

    def _kept_words(self, run: _Run) -> int:
        """The longest run that is kept where so many hold it."""
        return min(max(self.config.ngram_words, run.pages, run.items) - 1, self.config.max_boilerplate_words)

    def _bits_within(self, page: Hashes) -> Callable[[int, int], float]:
        """bits(start, stop): what the words of a run, which all stand in one item, tell. A pair of words that is
        repeated counts once: a line of dashes tells nothing."""
        words = rows_of(page, self.index.vocabulary)
        pairs = rows_of(ngram_hashes(page, 2), self.index.pairs)

        def bits(start: int, stop: int) -> float:
            inside = np.unique(pairs[start : stop - 1])
            return float(self.rarity.word_bits[words[start]] + self.rarity.pair_bits[inside].sum())

        return bits

    def _by_text(self, hits: Hits, sought: int | None) -> tuple[NDArray[np.int32], Indices, Indices]:
        """(text, position, n-gram) of each hit once for every text (of the item that is sought) that holds the n-gram,
        sorted by text and position."""
        bounds = self.index.bounds
        counts = bounds[hits.ngrams + 1] - bounds[hits.ngrams]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        texts = self.index.holders[np.repeat(bounds[hits.ngrams], counts) + within]
        positions, ngrams = np.repeat(hits.positions, counts), np.repeat(hits.ngrams, counts)
        order = np.lexsort((positions, texts))
        if sought is not None:
            order = order[self.index.text_items[texts[order]] == sought]
        return texts[order], positions[order], ngrams[order]


def _together(runs: list[_Run]) -> _Run:
    """Runs of one passage as if they were one."""
    words, bits = sum(run.words for run in runs), sum(run.bits for run in runs)
    return _Run(words, min(run.pages for run in runs), min(run.items for run in runs), bits)


def _stretches(positions: Indices, *, max_step: int) -> Iterator[tuple[int, int]]:
    """(first, last) index of each stretch of ascending positions with steps of at most `max_step`."""
    if len(positions) == 0:
        return
    breaks = np.flatnonzero(np.diff(positions) > max_step)
    yield from zip([0, *(breaks + 1).tolist()], [*breaks.tolist(), len(positions) - 1], strict=True)
