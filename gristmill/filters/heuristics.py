"""The heuristic signals of one text: Gopher, C4 and FineWeb, from one pass of tokenization.

Definitions follow Rae et al. 2021 (Gopher, arXiv:2112.11446, table A1 and appendix A.1.1), Raffel et al. 2020 (C4,
arXiv:1910.10683) and Penedo et al. 2024 (FineWeb, arXiv:2406.17557), as datatrove's filters read them; a text without
words or lines has zeros. Left out: C4's removal of single lines (a document is measured here, not changed), and
segmentation of scripts written without spaces, whose runs count as one word.
"""

import re
from collections.abc import Collection

from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from gristmill.filters.repetition import duplicates, ngram_repetition

Signals = dict[str, float | int | None]

SHORT_LINE_CHARS = 30

# Letters and digits, joined as in don't, 3.14 and a URL, or a run of other printed characters. So cut, 99 % of 391
# English web pages got the decision they get with datatrove's tokenizer (spaCy), which takes 17 times as long.
_WORD = re.compile(r"\w+(?:['’.,:/@&=?]\w+)*|[^\w\s]+")
_LINE_ENDS = re.compile(r"\n+")
_PARAGRAPH_ENDS = re.compile(r"\n{2,}")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+(?=\S)|[。！？](?=\S)")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
_POLICY = re.compile(r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies")
_MIN_LINE_WORDS, _MAX_LINE_WORD_CHARS = 3, 1000


def measure(text: str, stop_words: Collection[str] | None) -> Signals:
    """All heuristic signals of a text. `stop_words` is None where the language's are unknown."""
    words = split_words(text)
    return {
        **_line_repetition(text),
        **ngram_repetition(words, text_chars=len(text)),
        **_gopher_quality(text, words, stop_words),
        **_c4_quality(text),
        **_fineweb_quality(text, words),
    }


def split_words(text: str) -> list[str]:
    """The words of a text, in order and as they are written."""
    return _WORD.findall(text)


def count_sentences(line: str) -> int:
    """Sentences in a line: one, and one more for each end of a sentence with text behind it."""
    return 1 + len(_SENTENCE_END.findall(line))


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


def _gopher_quality(text: str, words: list[str], stop_words: Collection[str] | None) -> Signals:
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


def _c4_quality(text: str) -> Signals:
    """Lines that C4 itself leaves out (few words, a very long one, JavaScript, policies) have no sentences."""
    counts = {"sentences": 0, "lorem_ipsum_lines": 0, "javascript_lines": 0, "curly_bracket_lines": 0}
    for line in text.splitlines():
        tokens = line.split()
        if len(tokens) < _MIN_LINE_WORDS or max(map(len, tokens)) > _MAX_LINE_WORD_CHARS:
            continue
        lowered = line.lower()
        if "lorem ipsum" in lowered:
            counts["lorem_ipsum_lines"] += 1
        elif "javascript" in lowered:
            counts["javascript_lines"] += 1
        elif "{" in line:
            counts["curly_bracket_lines"] += 1
        elif not _POLICY.search(lowered):
            counts["sentences"] += count_sentences(_CITATION.sub("", line))
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


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
