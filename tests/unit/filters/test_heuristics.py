from typing import Any

import pytest

from gristmill.filters.config import FilterConfig, SignalsConfig
from gristmill.filters.filter import rules_of
from gristmill.filters.heuristics import Vocabulary, count_sentences, measure, phrase_ratios, split_words
from gristmill.filters.signals import vocabularies


def measured(text: str) -> dict[str, Any]:
    return {**measure(text, Vocabulary(frozenset(["the", "of"])))}


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
    assert signals["sentences"] == 4  # two, and one each in the last two lines, which have rules of their own
    assert (signals["javascript_lines"], signals["curly_bracket_lines"], signals["lorem_ipsum_lines"]) == (1, 1, 1)


def test_fineweb_lines_by_hand():
    signals = measured("Short line.\n" + "x" * 31 + "\n" + "y" * 30 + "!\n\n" + "z" * 30)
    assert signals["line_punct_ratio"] == 2 / 4
    assert signals["short_line_ratio"] == 2 / 4  # 30 characters are short, 31 are not


@pytest.mark.parametrize("text", ["", " \n\n\t", "…", "\x00\ud800", "a"])
def test_a_text_without_content_has_finite_signals(text):
    assert all(value == value and abs(value) < 100 for value in measured(text).values())


def test_stop_words_are_null_where_the_language_has_no_list():
    assert measure("The cat of the house.", Vocabulary())["stop_words"] is None


def test_each_character_is_a_word_where_no_spaces_part_words():
    assert split_words("我们 2024年, ok") == ["我", "们", "2024", "年", ",", "ok"]
    assert split_words("กินน้ำ") == ["กิ", "น", "น้", "ำ"]  # marks stay with the letter before


def test_vowel_signs_and_accents_stay_inside_a_word():
    assert split_words("हिन्दी भाषा। שָׁלוֹם") == ["हिन्दी", "भाषा", "।", "שָׁלוֹם"]
    assert split_words("cafe\u0301 au lait") == ["cafe\u0301", "au", "lait"]


def test_no_sentence_ends_with_an_abbreviation():
    vocabulary = Vocabulary(abbreviations=frozenset(["z.b", "nr"]))
    line = 'Er nahm z.B. den Zug (Nr. 7) nach Köln. "Spät!" Es regnete.'
    assert count_sentences(line, vocabulary) == 3
    assert count_sentences(line) == 5


def test_a_language_can_have_its_own_ends_of_sentences():
    assert count_sentences("यह एक है। यह दो है।") == 2
    assert count_sentences("one; two; three", Vocabulary(sentence_ends=";")) == 3


def test_lines_and_letters_of_program_code_by_hand():
    signals = measured("a = 1\n" + "x" * 41 + "\n\n#_#_")
    assert signals["mean_line_chars"] == (5 + 41 + 0 + 4) / 4
    assert signals["longest_line_chars"] == 41
    assert signals["alnum_ratio"] == 43 / 53  # a, 1 and the x; newlines are characters too


def test_words_and_sentences_of_another_tokenizer_count_in_place_of_ours():
    counted = []

    def sentences(line: str) -> int:
        counted.append(line)
        return 7

    signals = measure(
        " One two three [4]\nno", Vocabulary(), words=["One", "two", "-", "th", "ree"], sentences=sentences
    )
    assert (signals["words"], signals["sentences"]) == (4, 7)
    assert signals["mean_word_chars"] == (3 + 3 + 2 + 3) / 4
    assert counted == ["One two three "]


@pytest.mark.parametrize(
    ("language", "kind", "page"),
    [
        ("en", "not_found", "Oops!\nSorry, the page you are looking for is not here. Please try the search."),
        ("de", "not_found", "Die gewünschte Seite wurde nicht gefunden.\nZur Startseite"),
        ("ru", "not_found", "Ошибка 404. Страница не найдена.\nНа главную"),
        ("uk", "not_found", "Помилка 404. Сторінку не знайдено.\nНа головну"),
        ("fr", "not_found", "404 Not Found\nnginx"),  # servers say it in English everywhere
        ("en", "placeholder", "This domain is for sale! Make an offer."),
        ("de", "placeholder", "Hier entsteht eine neue Internetpräsenz."),
        ("uk", "placeholder", "Наш сайт у розробці. Заходьте пізніше."),
        ("en", "consent", "We use cookies to improve your experience. Accept all cookies. Manage cookies."),
        ("de", "consent", "Wir verwenden Cookies, um Inhalte zu personalisieren.\nAlle Cookies akzeptieren"),
        ("ru", "consent", "Мы используем файлы cookie, чтобы сайт работал лучше.\nПринять все cookie"),
    ],
)
def test_pages_without_content_fail_the_rule_of_their_kind(language, kind, page):
    known = vocabularies(SignalsConfig())
    signals = measure(page, known.get(language, known["en"]))
    (rule,) = (rule for rule in rules_of(FilterConfig()) if rule.name == f"max_{kind}_char_ratio")
    assert not rule.keeps(signals[f"{kind}_char_ratio"] or 0)


def test_an_article_that_mentions_an_error_page_is_no_error_page():
    article = "When a server answers with error 404, the address is wrong. " + "It then helps to look at the log. " * 9
    ratios = phrase_ratios(article.lower(), {"not_found": ["error 404"], "consent": ["cookies"]})
    assert ratios == {"not_found_char_ratio": pytest.approx(60 / len(article)), "consent_char_ratio": 0.0}
