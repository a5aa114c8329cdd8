"""An index of benchmark items, and where they stand in a page: verbatim summaries, long runs, shared rare n-grams."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.config import DecontaminateConfig
from gristmill.text.words import Hashes, ngram_hashes, word_hashes, words

Indices = NDArray[np.int64]

# what stands within this many n-gram lengths of words is one passage: an item interrupted by a sentence stays whole
_GAP_IN_NGRAMS = 4


@dataclass(frozen=True)
class Item:
    """One benchmark item: what must not be trained on. `summary` may be empty."""

    item_id: str
    text: str
    summary: str


@dataclass(frozen=True)
class Hits:
    """Where n-grams of items begin in one page."""

    positions: Indices
    """[hits], ascending: number of the n-gram's first word."""
    ngrams: Indices
    """[hits]: row of the n-gram in `ItemIndex.ngrams`."""


@dataclass(frozen=True)
class Match:
    """An item found in the words `start` to `stop` (exclusive) of a page."""

    start: int
    stop: int
    item_id: str
    value: str
    threshold: str


class ItemIndex:
    """The n-grams and summaries of all items, in sorted arrays of 64-bit hashes: a page is looked up as a whole."""

    def __init__(self, items: list[Item], config: DecontaminateConfig) -> None:
        self.items = items
        self.config = config
        texts = [np.unique(_telling_ngrams(words(item.text), config.ngram_words)) for item in items]
        owners = np.repeat(np.arange(len(items)), np.array([len(text) for text in texts], np.int64))
        flat = np.concatenate([np.zeros(0, np.uint64), *texts])
        order = np.argsort(flat, kind="stable")
        self.ngrams, first = np.unique(flat[order], return_index=True)
        """[ngrams] sorted; the items of n-gram g are owners[bounds[g] : bounds[g + 1]]."""
        self.owners: Indices = owners[order]
        self.bounds: Indices = np.append(first, len(flat))
        phrases = [_phrase(item, config) for item in items]
        self.phrases = _by_anchor(phrases, config.min_summary_words)
        self.anchors = np.array(sorted(self.phrases), np.uint64)
        self.unfindable = sum(len(text) + len(phrase) == 0 for text, phrase in zip(texts, phrases, strict=True))
        """Items too short to be told from common speech."""

    def hits(self, page: Hashes) -> Hits:
        """The n-grams of items in a page given as word hashes."""
        found, rows = _lookup(ngram_hashes(page, self.config.ngram_words), self.ngrams)
        return Hits(found, rows)

    def phrase_matches(self, page: Hashes) -> Iterator[Match]:
        """Every verbatim occurrence of a summary, or of a whole short item."""
        anchors = ngram_hashes(page, self.config.min_summary_words)
        for start in _lookup(anchors, self.anchors)[0].tolist():
            for number, phrase in self.phrases[int(anchors[start])]:
                if np.array_equal(page[start : start + len(phrase)], phrase):
                    yield Match(start, start + len(phrase), self.items[number].item_id, "its summary", "no summary")


class Matcher:
    """An index that knows on how many training pages each n-gram stands, and so how much it says about an item.

    pages_with: [ngrams], as in `ItemIndex.ngrams`.
    """

    def __init__(self, index: ItemIndex, pages_with: Indices) -> None:
        self.index = index
        self.pages_with = pages_with
        self.weights = 1 / np.maximum(pages_with, 1)
        per_owner = np.repeat(self.weights, np.diff(index.bounds))
        self.totals = np.bincount(index.owners, per_owner, minlength=len(index.items))

    def matches(self, page: Hashes) -> list[Match]:
        """All items found in a page given as word hashes, by place; they may overlap."""
        hits = self.index.hits(page)
        found = [*self.index.phrase_matches(page), *self._runs(hits), *self._overlaps(hits)]
        return sorted(found, key=lambda match: (match.start, -match.stop))

    def _runs(self, hits: Hits) -> Iterator[Match]:
        """Runs of words, more than allowed for the pages they stand on, of which every n-gram stands in an item."""
        config = self.index.config
        for first, last in _stretches(hits.positions, max_step=1):
            start, stop = int(hits.positions[first]), int(hits.positions[last]) + config.ngram_words
            ngrams = hits.ngrams[first : last + 1]
            pages = int(self.pages_with[ngrams].min())
            allowed = min(config.max_verbatim_words + pages, config.max_boilerplate_words)
            if stop - start > allowed:
                owners, _, _ = self._by_item(Hits(hits.positions[first : last + 1], ngrams))
                item = self.index.items[int(np.bincount(owners).argmax())]
                yield Match(start, stop, item.item_id, f"{stop - start} words verbatim", f"{allowed} words")

    def _overlaps(self, hits: Hits) -> Iterator[Match]:
        """Passages that hold at least `max_overlap` of one item's n-grams, each weighted by 1 / pages it stands on."""
        config = self.index.config
        owners, positions, ngrams = self._by_item(hits)
        # 2^33 words lie between two items, so that no passage holds the hits of both
        for first, last in _stretches(owners * 2**33 + positions, max_step=_GAP_IN_NGRAMS * config.ngram_words):
            owner = int(owners[first])
            overlap = self.weights[np.unique(ngrams[first : last + 1])].sum() / self.totals[owner]
            if overlap >= config.max_overlap:
                start, stop = int(positions[first]), int(positions[last]) + config.ngram_words
                value = f"{overlap:.2f} of its n-grams"
                yield Match(start, stop, self.index.items[owner].item_id, value, f"{config.max_overlap}")

    def _by_item(self, hits: Hits) -> tuple[Indices, Indices, Indices]:
        """(item, position, n-gram) of each hit once for every item that owns the n-gram, sorted by item, position."""
        bounds = self.index.bounds
        counts = bounds[hits.ngrams + 1] - bounds[hits.ngrams]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = self.index.owners[np.repeat(bounds[hits.ngrams], counts) + within]
        positions, ngrams = np.repeat(hits.positions, counts), np.repeat(hits.ngrams, counts)
        order = np.lexsort((positions, owners))
        return owners[order], positions[order], ngrams[order]


def _telling_ngrams(sequence: list[str], n: int) -> Hashes:
    """The n-grams of which at most half are numbers: printed arrays meet calendars and tables everywhere."""
    numbers = np.cumsum([0, *(word.isdecimal() for word in sequence)])
    return ngram_hashes(word_hashes(sequence), n)[numbers[n:] - numbers[:-n] <= n // 2]


def _phrase(item: Item, config: DecontaminateConfig) -> Hashes:
    """The words to be found verbatim: the summary, or all of an item too short for an n-gram; none when too common."""
    text = word_hashes(words(item.text))
    phrase = word_hashes(words(item.summary)) if item.summary or len(text) >= config.ngram_words else text
    return phrase if len(phrase) >= config.min_summary_words else phrase[:0]


def _by_anchor(phrases: list[Hashes], anchor_words: int) -> dict[int, list[tuple[int, Hashes]]]:
    """Hash of a phrase's first words → (item, phrase); equal phrases stand once."""
    anchored: dict[int, list[tuple[int, Hashes]]] = {}
    seen: set[bytes] = set()
    for number, phrase in enumerate(phrases):
        if len(phrase) and phrase.tobytes() not in seen:
            seen.add(phrase.tobytes())
            anchor = int(ngram_hashes(phrase[:anchor_words], anchor_words)[0])
            anchored.setdefault(anchor, []).append((number, phrase))
    return anchored


def _lookup(needles: Hashes, sorted_keys: Hashes) -> tuple[Indices, Indices]:
    """Positions in `needles` that stand in `sorted_keys`, and their rows there."""
    if len(sorted_keys) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.minimum(np.searchsorted(sorted_keys, needles), len(sorted_keys) - 1)
    found = np.flatnonzero(sorted_keys[rows] == needles)
    return found, rows[found]


def _stretches(positions: Indices, *, max_step: int) -> Iterator[tuple[int, int]]:
    """(first, last) index of each stretch of ascending positions with steps of at most `max_step`."""
    if len(positions) == 0:
        return
    breaks = np.flatnonzero(np.diff(positions) > max_step)
    yield from zip([0, *(breaks + 1).tolist()], [*breaks.tolist(), len(positions) - 1], strict=True)
