import time
import unicodedata

import pytest

from gristmill.text.clean import clean_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "café"),
        ("a\x00b\x07c\x7fd", "abcd"),
        ("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07", "red link"),
        ("one  \ntwo\t\n\n\n\nthree\n", "one\ntwo\n\nthree"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("    indented\tcode", "    indented\tcode"),
        ("\ufeffbroken \ud800 surrogate", "broken  surrogate"),
        ("it isn\u00e2\u20ac\u2122t", "it isn\u2019t"),
        (
            "\u00d0\u2014\u00d0\u00b4\u00d1\u20ac\u00d0\u00b0\u00d0\u00b2\u00d1\u0081\u00d1\u201a\u00d0\u00b2\u00d1\u0192\u00d0\u00b9",
            "Здравствуй",
        ),
        ("Füße, naïve, São", "Füße, naïve, São"),
    ],
)
def test_text_is_cleaned(raw, clean):
    assert clean_text(raw) == clean


def test_every_cleaned_text_is_nfc_and_can_be_stored():
    every = "".join(map(chr, range(0x10000)))
    text = clean_text(every)
    assert unicodedata.is_normalized("NFC", text)
    assert text.encode("utf-8").decode("utf-8") == text
    assert clean_text(text) == text


def test_blank_lines_stay_where_they_mean_something():
    code = "import os\n\n\nclass Mill:\n    pass"
    assert clean_text(code, keep_blank_lines=True) == code
    assert clean_text(code) == "import os\n\nclass Mill:\n    pass"


@pytest.mark.parametrize(
    ("piece", "around"), [(" ", "x{}y"), ("\u0301", "e{}"), ("\u0301\u0327", "e{}"), ("\u064e", "\u0628{}")]
)
def test_runs_that_are_no_writing_cost_time_linear_in_their_length(piece, around):
    start = time.process_time()
    clean_text(around.format(piece * 400_000))
    assert time.process_time() - start < 1  # some milliseconds; to look back from each piece takes minutes


def test_thirty_marks_on_a_letter_stay_and_more_do_not():
    assert clean_text("e" + "\u0323" * 40) == unicodedata.normalize("NFC", "e" + "\u0323" * 30)
