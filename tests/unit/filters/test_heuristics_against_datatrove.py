import random
from typing import Any

import pytest
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

from gristmill.filters.heuristics import Vocabulary, count_sentences, measure, split_words
from gristmill.filters.language_data import published_stop_words

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
FINEWEB_OFF: dict[str, Any] = {
    "line_punct_thr": -1,
    "short_line_thr": 9,
    "char_duplicates_ratio": 9,
    "new_line_ratio": 1e9,
}
REPETITION_RULES = {
    "dup_paragraph_ratio": lambda bound: {"dup_para_frac": bound},
    "dup_paragraph_char_ratio": lambda bound: {"dup_para_char_frac": bound},
    "dup_line_ratio": lambda bound: {"dup_line_frac": bound},
    "dup_line_char_ratio": lambda bound: {"dup_line_char_frac": bound},
    **{f"top_{n}gram_char_ratio": lambda bound, n=n: {"top_n_grams": ((n, bound),)} for n in (2, 3, 4)},
    **{f"dup_{n}gram_char_ratio": lambda bound, n=n: {"dup_n_grams": ((n, bound),)} for n in range(5, 11)},
}
QUALITY_RULES = {
    "words": lambda bound: {"max_doc_words": bound},
    "mean_word_chars": lambda bound: {"max_avg_word_length": bound},
    "bullet_line_ratio": lambda bound: {"max_bullet_lines_ratio": bound},
    "ellipsis_line_ratio": lambda bound: {"max_ellipsis_lines_ratio": bound},
}
FINEWEB_RULES = {
    "short_line_ratio": lambda bound: {"short_line_thr": bound},
    "dup_filled_line_char_ratio": lambda bound: {"char_duplicates_ratio": bound},
    "newline_word_ratio": lambda bound: {"new_line_ratio": bound},
}


@pytest.fixture(autouse=True)
def _our_words_and_sentences(monkeypatch):
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: split_words(text))
    monkeypatch.setattr(c4_filters, "split_into_sentences", lambda line, language: [""] * count_sentences(line))


def generated_texts(count: int) -> list[str]:
    """Texts with repeated words, lines and paragraphs, bullets, ellipses, symbols and numbers."""
    rng = random.Random(5)
    vocabulary = ["the", "of", "and", "with", "to", "rain", "in", "Spain", "falls", "don't", "naïve", "café", "42"]
    vocabulary += ["3.14", "#", "{", "…", "...", "Ω", "x1", "!?", "javascript", "www.a-b.org/c?d=e", "__init__", "—"]
    texts = []
    for _ in range(count):
        words = rng.sample(vocabulary, rng.randint(3, len(vocabulary)))
        lines = []
        for _ in range(rng.randint(1, 12)):
            start = rng.choice(["", "", "- ", "• ", "  "])
            end = rng.choice(["", ".", "...", "…", "?", ' [1]." '])
            lines.append(start + " ".join(rng.choices(words, k=rng.randint(1, 14))) + end)
        paragraphs = [
            "\n".join(rng.choices(lines, k=rng.randint(1, 5))) + "\n" * rng.randint(0, 3)
            for _ in range(rng.randint(1, 8))
        ]
        texts.append("\n".join(rng.choices(paragraphs, k=rng.randint(1, 8))))
    return texts


def measured(text: str) -> dict[str, Any]:
    return {**measure(text, Vocabulary(frozenset(published_stop_words("en"))))}


def keeps(filter_, text: str) -> bool:
    return filter_.filter(Document(text=text, id="0")) is True


@pytest.mark.parametrize(
    ("make", "off", "rules"),
    [
        (GopherRepetitionFilter, REPETITION_OFF, REPETITION_RULES),
        (GopherQualityFilter, QUALITY_OFF, QUALITY_RULES),
        (FineWebQualityFilter, FINEWEB_OFF, FINEWEB_RULES),
    ],
)
def test_upper_bounds_just_around_our_value_split_datatroves_decision(make, off, rules):
    for text in generated_texts(60):
        signals = measured(text)
        for signal, setting in rules.items():
            value = signals[signal]
            assert keeps(make(**off | setting(value + 1e-9)), text), (signal, value, text)
            if value > 0:
                assert not keeps(make(**off | setting(value - 1e-9)), text), (signal, value, text)


def test_lower_bounds_just_around_our_value_split_datatroves_decision():
    for text in generated_texts(60):
        signals = measured(text)
        lower_bounds = {
            "alpha_word_ratio": "max_non_alpha_words_ratio",  # a minimum, whatever its name
            "stop_words": "min_stop_words",
            "words": "min_doc_words",
            "mean_word_chars": "min_avg_word_length",
        }
        for signal, parameter in lower_bounds.items():
            value = signals[signal]
            if value > 0:
                assert keeps(GopherQualityFilter(**QUALITY_OFF | {parameter: value - 1e-9}), text), signal
                assert not keeps(GopherQualityFilter(**QUALITY_OFF | {parameter: value + 1e-9}), text), signal
        ratio = signals["line_punct_ratio"]
        assert keeps(FineWebQualityFilter(**FINEWEB_OFF | {"line_punct_thr": ratio - 1e-9}), text)
        assert not keeps(FineWebQualityFilter(**FINEWEB_OFF | {"line_punct_thr": ratio + 1e-9}), text)


def test_the_symbol_rule_of_datatrove_is_the_larger_of_our_two():
    for text in generated_texts(60):
        signals = measured(text)
        value = max(signals["hash_word_ratio"], signals["ellipsis_word_ratio"])
        assert keeps(GopherQualityFilter(**QUALITY_OFF | {"max_symbol_word_ratio": value + 1e-9}), text)
        if value > 0:
            assert not keeps(GopherQualityFilter(**QUALITY_OFF | {"max_symbol_word_ratio": value - 1e-9}), text)


def test_c4_decides_as_we_do_on_brackets_lorem_ipsum_and_sentences():
    texts = [*generated_texts(60), "Lorem ipsum dolor sit amet. " * 9, "One two three. Four five six.[2] Seven, eight."]
    for text in texts:
        signals = measured(text)
        dropped_at_once = signals["curly_bracket_lines"] or signals["lorem_ipsum_lines"]
        for min_sentences in (1, 2, 3, 5, 9):
            ours = not dropped_at_once and signals["sentences"] >= min_sentences
            filter_ = C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=min_sentences)
            assert keeps(filter_, text) == ours, text
