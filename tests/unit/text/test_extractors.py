import pytest

from gristmill.text.extractors import MIN_PRECISE_SHARE, decode_html, main_text, opens_as_html, quick_text, union

PROSE = "The miller carries the grain to the mill, and the wheel turns slowly in the cold water of the river. "


def page(body: str) -> str:
    return f"<html><head><title>Mill</title></head><body>{body}</body></html>"


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("Füße".encode(), None),
        ("Füße".encode(), "iso-8859-1"),
        ("\ufeffFüße".encode(), None),
        ("Füße".encode("cp1252"), "iso-8859-1"),
        (b"<meta charset=windows-1252>" + "Füße".encode("cp1252"), None),
        # what a header says of UTF-8 has been refuted; the element knows better
        (b"<meta charset=windows-1252>" + "Füße".encode("cp1252"), "utf-8"),
        # one broken byte in much UTF-8
        (b"\xff" + ("ä" * 30 + "Füße").encode(), "utf-8"),
    ],
)
def test_text_is_decoded_as_it_was_meant(body, charset):
    assert decode_html(body, charset).endswith("Füße")


@pytest.mark.parametrize(
    ("text", "charset"), [("Привет, мир", "koi8-r"), ("日本語のページ", "iso-2022-jp"), ("日本", "shift_jis")]
)
def test_a_declared_charset_is_used(text, charset):
    assert decode_html(text.encode(charset), charset) == text


def test_bytes_that_decode_in_no_way_are_no_error():
    assert "kept" in decode_html(b"\x81\x8d\x8f kept", "utf-8")


def test_paragraphs_lists_code_and_tables_survive_as_text_in_every_mode():
    html = page(
        # as deep as on real pages: resiliparse takes a list near the root for a menu
        f"<div><div><article><h1>The mill</h1><p>{PROSE * 3}</p><ul><li>rye</li><li>wheat</li></ul>"
        "<pre><code>def grind(grain):\n    return flour(grain)</code></pre>"
        f"<table><tr><th>grain</th><th>kilograms</th></tr><tr><td>rye</td><td>117</td></tr></table><p>{PROSE * 3}</p>"
        "</article></div></div>"
    )
    quick, _ = quick_text(html)
    for mode in ("precise", "fast", "union"):
        text = main_text(html, quick, mode)
        assert text.count("The miller carries") >= 6, mode
        for found in ("rye", "wheat", "return flour(grain)", "kilograms", "117"):
            assert found in text, (mode, found)


def test_where_the_precise_extractor_finds_next_to_nothing_the_quick_text_is_taken(monkeypatch):
    quick = "x" * 1000
    for length, expected in ((int(1000 * MIN_PRECISE_SHARE) - 1, quick), (int(1000 * MIN_PRECISE_SHARE), None)):
        precise = "p" * length
        monkeypatch.setattr("gristmill.text.extractors.precise_text", lambda _, found=precise: found)
        assert main_text("", quick, "precise") == (expected or precise)
    monkeypatch.setattr("gristmill.text.extractors.precise_text", lambda _: "from trafilatura")
    assert main_text("", "", "fast") == "from trafilatura"
    assert main_text("", quick, "fast") == quick


def test_union_has_every_line_of_both_once_and_in_place():
    first = "Grain is ground.\n- Rye: 3 kg\nThe end."
    second = "Home\nGrain is ground.\nA line between.\nRye 3 kg\nThe end.\nAfterword"
    assert union(first, second).split("\n") == [
        "Home",
        "Grain is ground.",
        "A line between.",
        "- Rye: 3 kg",
        "The end.",
        "Afterword",
    ]
    assert union(first, first) == first
    assert union("", second).strip() == second


def test_union_of_very_many_lines_appends_what_is_missing():
    first, second = ("\n".join(f"{name} {number}" for number in range(2500)) for name in ("left", "right"))
    assert union(first, second) == f"{first}\n{second}"


@pytest.mark.parametrize(
    ("body", "is_html"),
    [
        (b"\xef\xbb\xbf \r\n<!DOCTYPE HTML><p>", True),
        (b"<html>", True),
        (b"%PDF-1.4", False),
        (b"see <html>", False),
    ],
)
def test_a_body_without_a_media_type_is_known_by_its_opening(body, is_html):
    assert opens_as_html(body) is is_html


def test_of_texts_too_long_to_align_the_lines_that_stand_in_no_line_of_the_first_come_behind_it(monkeypatch):
    monkeypatch.setattr("gristmill.text.extractors.MAX_COMPARED_LINES", 3)
    assert union("rye\nwheat", "Rye!\n\noats\nwheat") == "rye\nwheat\noats"
