"""What n-grams and runs of words tell about an item, by arithmetic."""

import math

import numpy as np
import pytest

from gristmill.dedup.decontaminate_config import DecontaminateConfig
from gristmill.dedup.item_files import Item
from gristmill.dedup.items import index_items, rows_of
from gristmill.dedup.matching import Matcher, PageCounts, measure_rarity
from gristmill.dedup.views import VIEWS, Reader
from gristmill.text.words import ngram_hashes, word_hashes

WORDS = VIEWS["words"]
LONG = "the quick brown fox jumps over the lazy dog and then it sleeps"


def item(number: int, *texts: str, summary: str = "") -> Item:
    return Item("bench", str(number), number, texts, summary)


def no_pages(index) -> PageCounts:
    sizes = (index.ngrams, index.anchors, index.vocabulary, index.pairs)
    return PageCounts(*(np.zeros(len(keys), np.int64) for keys in sizes))


def row_of(keys: np.ndarray, *words: str) -> int:
    hashes = word_hashes(list(words))
    (row,) = rows_of(ngram_hashes(hashes, len(words)), keys)
    assert row >= 0
    return int(row)


def test_bits_are_those_of_a_smoothed_bigram_model():
    index = index_items([item(0, LONG)], WORDS, DecontaminateConfig())
    counts = no_pages(index)
    the, quick = row_of(index.vocabulary, "the"), row_of(index.vocabulary, "quick")
    the_quick = row_of(index.pairs, "the", "quick")
    counts.words[the] += 98  # beside the two of the item
    counts.words[quick] += 9_999  # beside the one
    counts.pairs[the_quick] += 50
    rarity = measure_rarity(index, counts)
    # fewer than 65,536 words were read, so it is as if so many had been; one occurrence of the pair is the item's own
    assert rarity.word_bits[quick] == pytest.approx(-math.log2(10_000 / 65_536))
    expected = (50 + 1 - 1 + 10 * 10_000 / 65_536) / (100 - 1 + 10)
    assert rarity.pair_bits[the_quick] == pytest.approx(-math.log2(expected))


def test_a_passage_that_many_items_share_is_counted_once():
    alone = index_items([item(0, LONG)], WORDS, DecontaminateConfig())
    shared = index_items([item(number, LONG) for number in range(9)], WORDS, DecontaminateConfig())
    assert np.array_equal(alone.pairs, shared.pairs)
    assert np.array_equal(alone.pair_counts, shared.pair_counts)
    assert np.array_equal(alone.word_counts, shared.word_counts)


def test_n_grams_weigh_one_by_the_pages_and_items_that_hold_them():
    other = "a red hen and then it sleeps beside the quiet pond at night"
    index = index_items([item(0, LONG), item(1, f"{LONG} {other}")], WORDS, DecontaminateConfig())
    counts = no_pages(index)
    first = row_of(index.ngrams, *LONG.split()[:8])
    counts.ngrams[first] += 4
    rarity = measure_rarity(index, counts)
    assert rarity.weights[first] == 1 / (4 + 2 - 1)
    # 13 words make 6 n-grams: the first on 4 pages and in 2 items, the others in 2 items and on their leak's page
    assert rarity.totals[0] == pytest.approx(1 / 5 + 5 * 1 / 2)
    assert rarity.totals[1] == pytest.approx(rarity.totals[0] + (13 + 13 - 7) - 6)


def test_a_line_of_one_symbol_tells_nothing_however_long():
    view, config = VIEWS["symbols"], DecontaminateConfig()
    index = index_items([item(0, "# " * 80)], view, config)
    matcher = Matcher(index, measure_rarity(index, no_pages(index)), config)
    assert len(index.ngrams) == 1
    assert matcher.matches(Reader(view).hashes("#" * 200)) == []


def test_the_symbols_of_prose_are_left_to_the_words():
    dialogue = "“Well, well,” he said. “Don’t you — ever — ‘sleep’?” “I don’t!” “Oh…”"
    assert len(index_items([item(0, dialogue)], VIEWS["symbols"], DecontaminateConfig()).ngrams) == 0
    brackets = "( [ { } ] ) < > [ ( { } ) ] < ( ) >"
    assert len(index_items([item(0, brackets)], VIEWS["symbols"], DecontaminateConfig()).ngrams) == 18 - 7


def test_the_index_is_found_by_brute_force_too():
    rng = np.random.default_rng(0)
    lexicon = [f"w{number}" for number in range(300)]
    texts = [" ".join(rng.choice(lexicon, 30)) for _ in range(200)]
    index = index_items([item(number, text) for number, text in enumerate(texts)], WORDS, DecontaminateConfig())
    reader = Reader(WORDS)
    grams = {tuple(text.split()[start : start + 8]) for text in texts for start in range(23)}
    page = [*rng.choice(lexicon, 50), *texts[3].split(), *rng.choice(lexicon, 50), *texts[90].split()[5:20]]
    expected = [start for start in range(len(page) - 7) if tuple(page[start : start + 8]) in grams]
    assert index.hits(reader.hashes(" ".join(page))).positions.tolist() == expected
    assert len(expected) == 23 + 8
