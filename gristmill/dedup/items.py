"""An index of benchmark items, in sorted arrays of 64-bit hashes: a page is looked up as a whole.

The arrays lie in files that worker processes map into memory, so that however many there are, the items are there once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.item_files import Item
from gristmill.dedup.views import View
from gristmill.text.words import Hashes, ngram_hashes, word_hashes

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """Where items stand in one page: their n-grams and phrases, by the number of the first word."""

    positions: Indices
    """[hits], ascending"""
    ngrams: Indices
    """[hits]: row of the n-gram in `ItemIndex.ngrams`."""
    phrase_positions: Indices
    """[phrase hits]"""
    phrases: Indices
    """[phrase hits]: row of the phrase in `ItemIndex.phrase_owners`."""

    def __bool__(self) -> bool:
        return len(self.ngrams) + len(self.phrases) > 0


@dataclass(frozen=True)
class ItemIndex:
    """The n-grams, phrases, words and pairs of words of all items, read in one view.

    A phrase is a summary, or the whole of a text too short for an n-gram.
    """

    ngrams: Hashes
    """[ngrams] sorted; the texts that hold n-gram g are holders[bounds[g] : bounds[g + 1]]."""
    bounds: Indices
    holders: NDArray[np.int32]
    text_items: NDArray[np.int32]
    """[texts] ascending: the item of each text that has n-grams."""
    items_with: Indices
    """[ngrams]: how many items hold it, in one text or several."""
    sieve: NDArray[np.bool_]
    """[a power of two]: whether an n-gram begins with these bits; four of five that are not in the index stop here."""
    anchors: Hashes
    """[phrases] sorted: hash of the phrase's first `min_phrase_words` words."""
    phrase_bounds: Indices
    """[phrases + 1]: the words of phrase p are phrase_words[phrase_bounds[p] : phrase_bounds[p + 1]]."""
    phrase_words: Hashes
    phrase_owners: NDArray[np.int32]
    phrase_is_summary: NDArray[np.bool_]
    phrase_copies: Indices
    """[phrases]: how many items have this phrase."""
    vocabulary: Hashes
    """[words] sorted."""
    word_counts: Indices
    """[words]: how often each stands in the items. A passage that several items share counts once."""
    pairs: Hashes
    """[pairs] sorted: hash of two consecutive words."""
    pair_counts: Indices
    pair_words: NDArray[np.int32]
    """[pairs, 2]: rows of both words in `vocabulary`."""
    shape: Indices
    """(n-gram length, anchor length)"""

    def hits(self, page: Hashes) -> Hits:
        """The n-grams and phrases of items in a page given as word hashes."""
        length, anchor_length = self.shape.tolist()
        ngrams = ngram_hashes(page, length)
        likely = np.flatnonzero(self.sieve[ngrams >> _shift(self.sieve)])
        places, rows = lookup(ngrams[likely], self.ngrams)
        starts, phrases = self._phrases(page, lookup(ngram_hashes(page, anchor_length), self.anchors))
        return Hits(likely[places], rows, starts, phrases)

    def _phrases(self, page: Hashes, anchored: tuple[Indices, Indices]) -> tuple[Indices, Indices]:
        found: list[tuple[int, int]] = []
        for start, first in zip(*(part.tolist() for part in anchored), strict=True):
            last = int(np.searchsorted(self.anchors, self.anchors[first], side="right"))
            for phrase in range(first, last):
                sought = self.phrase_words[self.phrase_bounds[phrase] : self.phrase_bounds[phrase + 1]]
                if np.array_equal(page[start : start + len(sought)], sought):
                    found.append((start, phrase))
        pairs = np.array(found, np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


def index_items(items: Sequence[Item], view: View, config: DecontaminateConfig) -> ItemIndex:
    """The index of what this view looks for: n-grams, phrases, and the words and pairs of the texts they are from."""
    n, anchor_length = config.ngram_words, config.min_phrase_words
    ngrams: list[tuple[int, Hashes]] = []  # (item, those of one text)
    speech: list[Hashes] = []
    phrases: dict[tuple[int, bytes], bool] = {}  # (item, words) → whether it is a summary
    for number, item in enumerate(items):
        pairs_of_item = [np.zeros((0, 4), np.uint64)]
        for text, is_summary in [*((text, False) for text in item.texts), (item.summary, True)]:
            tokens = view.tokenize(text)
            whole = is_summary or len(tokens) < n
            telling = view.telling(tokens, len(tokens) if whole else n)
            if len(tokens) < anchor_length or not telling.any() or telling.mean() < view.min_telling_ratio:
                continue
            hashes = word_hashes(tokens)
            pairs_of_item.append(_pairs_in_context(hashes, n))
            if whole:
                phrases[number, hashes.tobytes()] = is_summary
            else:
                ngrams.append((number, np.unique(ngram_hashes(hashes, n)[telling])))
        speech.append(_unique_rows(np.concatenate(pairs_of_item)))
    return ItemIndex(
        **_ngram_arrays(ngrams),
        **_phrase_arrays(phrases, anchor_length),
        **_pair_arrays(np.concatenate([np.zeros((0, 4), np.uint64), *speech])),
        shape=np.array([n, anchor_length]),
    )


def _pairs_in_context(hashes: Hashes, n: int) -> Hashes:
    """[words - 1, 4]: for each pair of consecutive words the n-gram it begins, the pair's hash, and both words.

    Near the end, where no n-gram begins, the last one and the distance from it stand for it.
    """
    if len(hashes) < 2:
        return np.zeros((0, 4), np.uint64)
    length = min(n, len(hashes))
    contexts = ngram_hashes(hashes, length)
    beyond = contexts[-1:] + np.arange(1, length - 1, dtype=np.uint64)
    return np.stack([np.append(contexts, beyond), ngram_hashes(hashes, 2), hashes[:-1], hashes[1:]], axis=1)


def _ngram_arrays(of_texts: list[tuple[int, Hashes]]) -> dict[str, NDArray]:
    flat = np.concatenate([np.zeros(0, np.uint64), *(ngrams for _, ngrams in of_texts)])
    text_items = np.array([item for item, _ in of_texts], np.int32)
    order = np.argsort(flat, kind="stable")
    holders = np.repeat(np.arange(len(of_texts), dtype=np.int32), [len(ngrams) for _, ngrams in of_texts])[order]
    ngrams, first, row = np.unique(flat[order], return_index=True, return_inverse=True)
    # texts of one item follow each other, so among the holders of an n-gram each of its items begins once
    items = text_items[holders]
    begins = np.ones(len(flat), np.bool_)
    begins[1:] = (row[1:] != row[:-1]) | (items[1:] != items[:-1])
    sieve = np.zeros(4 << len(ngrams).bit_length(), np.bool_)
    sieve[ngrams >> _shift(sieve)] = True
    return {
        "ngrams": ngrams,
        "bounds": np.append(first, len(flat)),
        "holders": holders,
        "text_items": text_items,
        "items_with": np.bincount(row[begins], minlength=len(ngrams)),
        "sieve": sieve,
    }


def _shift(sieve: NDArray[np.bool_]) -> np.uint64:
    """How far to shift a 64-bit hash for its place in the sieve."""
    return np.uint64(65 - len(sieve).bit_length())


def _phrase_arrays(phrases: dict[tuple[int, bytes], bool], anchor_length: int) -> dict[str, NDArray]:
    sequences = [np.frombuffer(words, np.uint64) for _, words in phrases]
    anchors = np.array([ngram_hashes(words[:anchor_length], anchor_length)[0] for words in sequences], np.uint64)
    order = np.argsort(anchors, kind="stable")
    ordered = [sequences[position] for position in order]
    copies = Counter(words for _, words in phrases)
    return {
        "anchors": anchors[order],
        "phrase_bounds": np.cumsum([0, *map(len, ordered)]),
        "phrase_words": np.concatenate([np.zeros(0, np.uint64), *ordered]),
        "phrase_owners": np.array([number for number, _ in phrases], np.int32)[order],
        "phrase_is_summary": np.array(list(phrases.values()), np.bool_)[order],
        "phrase_copies": np.array([copies[words.tobytes()] for words in ordered], np.int64),
    }


def _pair_arrays(speech: Hashes) -> dict[str, NDArray]:
    """Counts of words and pairs over all items; what stands in the same n-gram of several items counts once."""
    _, pair_hashes, first, second = _unique_rows(speech).T
    vocabulary, words = np.unique(np.concatenate([first, second]), return_inverse=True)
    pairs, where, pair_counts = np.unique(pair_hashes, return_index=True, return_counts=True)
    words = words.astype(np.int32).reshape(2, -1).T
    return {
        "vocabulary": vocabulary,
        "word_counts": np.bincount(words[:, 0], minlength=len(vocabulary)),
        "pairs": pairs,
        "pair_counts": pair_counts,
        "pair_words": words[where],
    }


def _unique_rows(speech: Hashes) -> Hashes:
    """Of rows with the same context (first column) one."""
    return speech[np.unique(speech[:, 0], return_index=True)[1]]


def rows_of(needles: Hashes, sorted_keys: Hashes) -> Indices:
    """[needles]: the (first) row of each in `sorted_keys`, -1 where there is none."""
    if len(sorted_keys) == 0:
        return np.full(len(needles), -1)
    rows = np.minimum(np.searchsorted(sorted_keys, needles), len(sorted_keys) - 1)
    return np.where(sorted_keys[rows] == needles, rows, -1)


def lookup(needles: Hashes, sorted_keys: Hashes) -> tuple[Indices, Indices]:
    """Positions in `needles` that stand in `sorted_keys`, and their rows there."""
    rows = rows_of(needles, sorted_keys)
    found = np.flatnonzero(rows >= 0)
    return found, rows[found]


def write_arrays(folder: Path, arrays: Any) -> None:
    """Write each array of a dataclass to a file `<field>.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in vars(arrays).items():
        np.save(folder / f"{name}.npy", array)


def mapped_arrays(folder: Path) -> dict[str, NDArray]:
    """The arrays as they lie on disk, by field; what is not looked at is not read."""
    # plain arrays: every slice of an np.memmap is one again, which costs more than what is done with it
    return {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(folder.glob("*.npy"))}
