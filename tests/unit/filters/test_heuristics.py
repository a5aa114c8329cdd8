from typing import Any

import pytest

from gristmill.filters.heuristics import measure, split_words


def measured(text: str) -> dict[str, Any]:
    return {**measure(text, ["the", "of"])}


def test_words_keep_what_is_joined_and_split_what_is_not():
    assert split_words("Don't pay 3.14 (or more) -- see www.a.org/b!") == (
        ["Don't", "pay", "3.14", "(", "or", "more", ")", "--", "see", "www.a.org/b", "!"]
    )


def test_gopher_quality_by_hand():
    signals = measured("- The cat # of 12\n- sat …")
    # tokens: - The cat # of 12 - sat …; without symbols: The cat of 12 sat
    assert signals["words"] == 5
    assert signals["mean_word_chars"] == (3 + 3 + 2 + 2 + 3) / 5
    assert signals["hash_word_ratio"] == 1 / 9
    assert signals["ellipsis_word_ratio"] == 1 / 9
    assert signals["bullet_line_ratio"] == 1.0
    assert signals["ellipsis_line_ratio"] == 0.5
    assert signals["alpha_word_ratio"] == 4 / 9
    assert signals["stop_words"] == 1  # "The" is written otherwise


def test_line_and_paragraph_repetition_by_hand():
    signals = measured("aa\nbb\n\naa\nbb\n\ncc")  # 16 characters, lines aa bb aa bb cc, paragraphs aabb aabb cc
    assert signals["dup_line_ratio"] == 2 / 5
    assert signals["dup_line_char_ratio"] == 4 / 16
    assert signals["dup_paragraph_ratio"] == 1 / 3
    assert signals["dup_paragraph_char_ratio"] == 5 / 16
    assert signals["dup_filled_line_char_ratio"] == 4 / 10  # of the characters that are no newlines
    assert signals["newline_word_ratio"] == 6 / 5


def test_ngram_repetition_by_hand():
    text = "a b a b a b c d e f a b a b c"
    signals = measured(text)  # 29 characters
    assert signals["top_2gram_char_ratio"] == 5 * 3 / 29  # "a b" five times
    assert signals["top_3gram_char_ratio"] == 3 * 5 / 29  # "a b a" three times; "b a b" as often, but later
    assert signals["dup_5gram_char_ratio"] == 5 / 29  # "a b a b c" once more
    assert signals["dup_6gram_char_ratio"] == 0


def test_no_character_counts_twice_in_duplicate_ngrams():
    signals = measured("x " * 12)  # 24 characters: the second and the third x x x x x, then two words are left
    # the first n-gram starts at word 0, then 1-5 and 6-10 are duplicates
    assert signals["dup_5gram_char_ratio"] == 10 / 24


def test_c4_looks_past_short_lines_and_notices():
    lines = ["One two.", "It is one. Is it two? [3]", "This site uses cookies now.", "Turn JavaScript on please."]
    lines += ["if (x) { y }", "Lorem ipsum dolor sit."]
    signals = measured("\n".join(lines))
    assert signals["sentences"] == 2
    assert (signals["javascript_lines"], signals["curly_bracket_lines"], signals["lorem_ipsum_lines"]) == (1, 1, 1)


def test_fineweb_lines_by_hand():
    signals = measured("Short line.\n" + "x" * 31 + "\n" + "y" * 30 + "!\n\n" + "z" * 30)
    assert signals["line_punct_ratio"] == 2 / 4
    assert signals["short_line_ratio"] == 2 / 4  # 30 characters are short, 31 are not


@pytest.mark.parametrize("text", ["", " \n\n\t", "…", "\x00\ud800", "a"])
def test_a_text_without_content_has_finite_signals(text):
    assert all(value == value and abs(value) < 100 for value in measured(text).values())


def test_stop_words_are_null_where_the_language_has_no_list():
    assert measure("The cat of the house.", None)["stop_words"] is None
