"""datatrove's quality filters on texts, rule by rule; started by `heuristics.py`, reads and writes JSON lines.

Runs in an environment of its own (see benchmarks/README.md), so it imports nothing of gristmill. In: `{"text": …}` a
line. Out, for each text: `words`, `sentences` (line → count), `rules` (rule → whether it alone keeps the text) and
`filter` (the first of FineWeb's four filters that drops it, or null); then one line with the CPU time of those four,
which is measured first, with nothing replaced. Parameters and order are those of datatrove's examples/fineweb.py; the
tokenizer is its English one, as there.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import split_into_sentences, split_into_words

REPETITION_OFF: dict[str, Any] = {
    **dict.fromkeys(["dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"]),
    "top_n_grams": (),
    "dup_n_grams": (),
}
QUALITY_OFF: dict[str, Any] = {
    **dict.fromkeys(["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "min_stop_words"]),
    **dict.fromkeys(["max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio"]),
    "max_symbol_word_ratio": None,
}
C4_OFF: dict[str, Any] = {
    "filter_no_terminal_punct": False,
    "filter_lorem_ipsum": False,
    "filter_curly_bracket": False,
    "min_num_sentences": -1,
}
FINEWEB_OFF: dict[str, Any] = {
    "line_punct_thr": -1,
    "short_line_thr": 9,
    "char_duplicates_ratio": 9,
    "new_line_ratio": 1e9,
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    texts = [json.loads(line)["text"] for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    with Path(sys.argv[2]).open("w", encoding="utf-8") as out:
        dropped_by, seconds = time_filters(texts)
        for text, filter_name in zip(texts, dropped_by, strict=True):
            print(json.dumps(judge(text) | {"filter": filter_name}), file=out)
        print(json.dumps({"cpu_s": seconds}), file=out)


def time_filters(texts: list[str]) -> tuple[list[str | None], float]:
    """For each text the first filter that drops it, and the CPU seconds of all."""
    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }
    split_into_words("The tokenizer is loaded once a worker.")
    started = time.process_time()
    dropped_by = []
    for text in texts:
        document = Document(text=text, id="0")
        dropped_by.append(next((name for name, each in filters.items() if not keeps(each, document)), None))
    return dropped_by, time.process_time() - started


def keeps(filter_: Any, document: Document) -> bool:
    return filter_.filter(document) is True


def judge(text: str) -> dict[str, Any]:
    """What each rule alone decides, all on the same words and sentences."""
    words = split_into_words(text)
    sentences: dict[str, int] = {}

    def count(line: str, language: str) -> list[str]:
        found = split_into_sentences(line, language)
        sentences[line] = len(found)
        return found

    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        setattr(module, "split_into_words", lambda text, language: words)  # noqa: B010
    setattr(c4_filters, "split_into_sentences", count)  # noqa: B010
    rules = {name: _alone(filter_, text) for name, filter_ in rules_alone()}
    return {"words": words, "sentences": sentences, "rules": rules}


def _alone(filter_: Any, text: str) -> bool | None:
    try:
        return keeps(filter_, Document(text=text, id="0"))
    except ZeroDivisionError:  # a text without words
        return None


def rules_alone() -> Iterator[tuple[str, Any]]:
    """Each rule under gristmill's name, as a filter in which all others are off."""
    repetition: dict[str, dict[str, Any]] = {
        "max_dup_paragraph_ratio": {"dup_para_frac": 0.3},
        "max_dup_paragraph_char_ratio": {"dup_para_char_frac": 0.2},
        "max_dup_line_ratio": {"dup_line_frac": 0.3},
        "max_dup_line_char_ratio": {"dup_line_char_frac": 0.2},
    }
    for n, bound in ((2, 0.2), (3, 0.18), (4, 0.16)):
        repetition[f"max_top_{n}gram_char_ratio"] = {"top_n_grams": ((n, bound),)}
    for n, bound in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1)):
        repetition[f"max_dup_{n}gram_char_ratio"] = {"dup_n_grams": ((n, bound),)}
    quality: dict[str, dict[str, Any]] = {
        "min_words": {"min_doc_words": 50},
        "max_words": {"max_doc_words": 100_000},
        "min_mean_word_chars": {"min_avg_word_length": 3},
        "max_mean_word_chars": {"max_avg_word_length": 10},
        "max_hash_word_ratio+max_ellipsis_word_ratio": {"max_symbol_word_ratio": 0.1},
        "max_bullet_line_ratio": {"max_bullet_lines_ratio": 0.9},
        "max_ellipsis_line_ratio": {"max_ellipsis_lines_ratio": 0.3},
        "min_alpha_word_ratio": {"max_non_alpha_words_ratio": 0.8},
        "min_stop_words": {"min_stop_words": 2},
    }
    c4: dict[str, dict[str, Any]] = {
        "min_sentences": {"min_num_sentences": 5},
        "max_lorem_ipsum_lines": {"filter_lorem_ipsum": True},
        "max_curly_bracket_lines": {"filter_curly_bracket": True},
    }
    fineweb: dict[str, dict[str, Any]] = {
        "min_line_punct_ratio": {"line_punct_thr": 0.12},
        "max_short_line_ratio": {"short_line_thr": 0.67},
        "max_dup_filled_line_char_ratio": {"char_duplicates_ratio": 0.01},
        "max_newline_word_ratio": {"new_line_ratio": 0.3},
    }
    yield from ((name, GopherRepetitionFilter(**REPETITION_OFF | on)) for name, on in repetition.items())
    yield from ((name, GopherQualityFilter(**QUALITY_OFF | on)) for name, on in quality.items())
    yield from ((name, C4QualityFilter(**C4_OFF | on)) for name, on in c4.items())
    yield from ((name, FineWebQualityFilter(**FINEWEB_OFF | on)) for name, on in fineweb.items())


if __name__ == "__main__":
    main()
