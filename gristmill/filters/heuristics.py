"""The heuristic signals of one text: Gopher, C4 and FineWeb, from one pass of tokenization.

Definitions follow Rae et al. 2021 (Gopher, arXiv:2112.11446, table A1 and appendix A.1.1), Raffel et al. 2020 (C4,
arXiv:1910.10683) and Penedo et al. 2024 (FineWeb, arXiv:2406.17557), as datatrove's filters read them; a text without
words or lines has zeros. Three signals for program code are those of The Stack (Kocetkov et al. 2022,
arXiv:2211.15533). Left out: C4's removal of single lines, since a document is measured here, not changed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from gristmill.filters.repetition import duplicates, ngram_repetition
from gristmill.text.words import UNSPACED

Signals = dict[str, float | int | None]

SHORT_LINE_CHARS = 30

# Letters and digits, joined as in don't, 3.14 and a URL, or a run of other printed characters. So cut, each rule
# decides on at least 98.5 % of 401 English pages as with datatrove's tokenizer (spaCy): benchmarks/heuristics.py.
_WORD = re.compile(r"\w+(?:['’.,:/@&=?]\w+)*|[^\w\s]+")
# Marks are part of a word but not in \w: accents, Hebrew, Arabic and Indic vowel signs (whole blocks but the danda).
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u0900-\u0963\u0966-\u0dff"
)
# of Thai, Lao, Burmese and Khmer: they stay with the letter before
_UNSPACED_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u17b4-\u17d3"
)
_NEEDS_CARE = re.compile(f"[{_MARKS}{UNSPACED}]")
_LETTERS = rf"(?:[^\W{UNSPACED}]|[{_MARKS}])+"
# where spaces do not part words, a character with its marks is one
_CAREFUL_WORD = re.compile(
    rf"{_LETTERS}(?:['’.,:/@&=?]{_LETTERS})*|[{UNSPACED}][{_UNSPACED_MARKS}]*|[^\w\s{UNSPACED}{_MARKS}]+"
)
_LETTERS_AND_DIGITS = re.compile(r"[^\W_]+")
_LINE_ENDS = re.compile(r"\n+")
_PARAGRAPH_ENDS = re.compile(r"\n{2,}")
_SENTENCE_ENDS = ".!?…؟۔।॥։።"
_LAST_WORD = re.compile(r"[^\s(\[\"'„“«]*\Z")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
_POLICY = re.compile(r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies")
_MIN_LINE_WORDS, _MAX_LINE_WORD_CHARS = 3, 1000


@dataclass(frozen=True)
class Vocabulary:
    """What measuring needs to know about a text's language.

    stop_words: None where they are unknown. sentence_ends: characters that end a sentence where a blank follows.
    abbreviations: small letters, without the dot; no sentence ends with one that has text behind it. phrases: kind of
    page without content → phrases in small letters.
    """

    stop_words: frozenset[str] | None = None
    sentence_ends: str = _SENTENCE_ENDS
    abbreviations: frozenset[str] = frozenset()
    phrases: Mapping[str, Sequence[str]] = field(default_factory=dict)


def measure(
    text: str,
    vocabulary: Vocabulary,
    *,
    words: Sequence[str] | None = None,
    sentences: Callable[[str], int] | None = None,
) -> Signals:
    """All heuristic signals of a text.

    words: the text's words where another tokenizer has cut them. sentences: counts the sentences of a line, which
    comes stripped and without citations. Both only so that rules can be compared apart from tokenizers.
    """
    cut = split_words(text) if words is None else list(words)
    lowered = text.lower()
    return {
        **_line_repetition(text),
        **ngram_repetition(cut, text_chars=len(text)),
        **_gopher_quality(text, cut, vocabulary.stop_words),
        **_c4_quality(text, sentences or (lambda line: count_sentences(line, vocabulary))),
        **_fineweb_quality(text, cut),
        **_code_quality(text),
        **phrase_ratios(lowered, vocabulary.phrases),
    }


def split_words(text: str) -> list[str]:
    """The words of a text, in order and as they are written."""
    return (_CAREFUL_WORD if _NEEDS_CARE.search(text) else _WORD).findall(text)


def count_sentences(line: str, vocabulary: Vocabulary = Vocabulary()) -> int:
    """Sentences in a line: one, and one more for each end of a sentence with text behind it."""
    ends, abbreviations = _sentence_end(vocabulary.sentence_ends), vocabulary.abbreviations
    if not abbreviations:
        return 1 + len(ends.findall(line))
    places = (end.start() for end in ends.finditer(line))
    return 1 + sum(line[place] != "." or _word_before(line, place) not in abbreviations for place in places)


@lru_cache(maxsize=64)
def _sentence_end(characters: str) -> re.Pattern[str]:
    return re.compile(rf"[{re.escape(characters)}][\"'”’)\]]*\s+(?=\S)|[。！？](?=\S)")


def dotted_words(line: str) -> Iterator[tuple[str, str]]:
    """Each word with a dot and text behind it, in small letters and without the dot; the text's first character."""
    for end in _sentence_end(_SENTENCE_ENDS).finditer(line):
        word = _word_before(line, end.start()) if line[end.start()] == "." else ""
        if word and not word.endswith("."):  # an ellipsis
            yield word, line[end.end()]


def _word_before(line: str, position: int) -> str:
    """The word that ends there, in small letters, without an opening bracket or quote; of a long one the last part."""
    found = _LAST_WORD.search(line, max(0, position - 20), position)
    return found[0].lower() if found else ""


def phrase_ratios(lowered: str, phrases: Mapping[str, Sequence[str]]) -> Signals:
    """For each kind of page without content, the share of a text's characters in sentences that say such a thing.

    lowered: the text in small letters. A page that only says "page not found" has nearly 1, an article about such
    pages little.
    """
    ratios: Signals = dict.fromkeys((f"{kind}_char_ratio" for kind in phrases), 0.0)
    for kind, said in phrases.items():
        found = [phrase for phrase in said if phrase in lowered]
        if found:
            parts = [part for line in lowered.split("\n") for part in _sentences(line)]
            chars = sum(len(part) for part in parts if any(phrase in part for phrase in found))
            ratios[f"{kind}_char_ratio"] = chars / sum(map(len, parts))
    return ratios


def _sentences(line: str) -> list[str]:
    ends = [0, *(match.end() for match in _sentence_end(_SENTENCE_ENDS).finditer(line)), len(line)]
    return [line[start:end] for start, end in pairwise(ends)]


def _line_repetition(text: str) -> Signals:
    paragraphs = _PARAGRAPH_ENDS.split(text.strip())
    lines = _LINE_ENDS.split(text)
    dup_paragraphs, dup_paragraph_chars = duplicates(paragraphs)
    dup_lines, dup_line_chars = duplicates(lines)
    return {
        "dup_paragraph_ratio": dup_paragraphs / len(paragraphs),
        "dup_paragraph_char_ratio": _ratio(dup_paragraph_chars, len(text)),
        "dup_line_ratio": dup_lines / len(lines),
        "dup_line_char_ratio": _ratio(dup_line_chars, len(text)),
    }


def _gopher_quality(text: str, words: list[str], stop_words: frozenset[str] | None) -> Signals:
    # once for each distinct word: a text repeats most of its words
    distinct = set(words)
    symbols = {word for word in distinct if not word.isalpha() and PUNCTUATION_SET.issuperset(word)}
    without_letters = {word for word in distinct if not word.isalpha() and not any(map(str.isalpha, word))}
    spoken_lengths = [len(word) for word in words if word not in symbols]
    lines = text.splitlines()
    return {
        "words": len(spoken_lengths),
        "mean_word_chars": _ratio(sum(spoken_lengths), len(spoken_lengths)),
        "hash_word_ratio": _ratio(text.count("#"), len(words)),
        "ellipsis_word_ratio": _ratio(text.count("...") + text.count("…"), len(words)),
        "bullet_line_ratio": _ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "ellipsis_line_ratio": _ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "alpha_word_ratio": _ratio(sum(word not in without_letters for word in words), len(words)),
        "stop_words": None if stop_words is None else len(distinct.intersection(stop_words)),
    }


def _c4_quality(text: str, sentences: Callable[[str], int]) -> Signals:
    """Lines that C4 itself leaves out (few words, a very long one, JavaScript, policies) have no sentences."""
    counts = {"sentences": 0, "lorem_ipsum_lines": 0, "javascript_lines": 0, "curly_bracket_lines": 0}
    for line in text.splitlines():
        tokens = line.split()
        if len(tokens) < _MIN_LINE_WORDS or max(map(len, tokens)) > _MAX_LINE_WORD_CHARS:
            continue
        cited = _CITATION.sub("", line.strip())
        lowered = cited.lower()
        counts["lorem_ipsum_lines"] += "lorem ipsum" in lowered
        if "javascript" in lowered:
            counts["javascript_lines"] += 1
            continue
        counts["curly_bracket_lines"] += "{" in cited
        if not _POLICY.search(lowered):
            counts["sentences"] += sentences(cited)
    return {**counts}


def _fineweb_quality(text: str, words: list[str]) -> Signals:
    lines = [line for line in text.split("\n") if line.strip()]
    _, dup_chars = duplicates(lines)
    newlines = text.count("\n")
    return {
        "line_punct_ratio": _ratio(sum(line[-1] in TERMINAL_PUNCTUATION for line in lines), len(lines)),
        "short_line_ratio": _ratio(sum(len(line) <= SHORT_LINE_CHARS for line in lines), len(lines)),
        "dup_filled_line_char_ratio": _ratio(dup_chars, len(text) - newlines),
        "newline_word_ratio": _ratio(newlines, len(words)),
    }


def _code_quality(text: str) -> Signals:
    lengths = [len(line) for line in text.split("\n")]
    return {
        "mean_line_chars": sum(lengths) / len(lengths),
        "longest_line_chars": max(lengths),
        "alnum_ratio": _ratio(len("".join(_LETTERS_AND_DIGITS.findall(text))), len(text)),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
