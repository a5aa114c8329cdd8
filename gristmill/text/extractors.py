"""Markup to text: decoding, the quick extractor (resiliparse), the precise one (trafilatura), and both together.

What each is good for, measured on pages with known text: benchmarks/README.md. Left out: titles and dates, comments
of readers, text in pictures. What a function needs is imported in it: each process that parses pages imports this.
"""

import re
from difflib import SequenceMatcher
from typing import Literal

from gristmill.text.costly import simplify

Mode = Literal["precise", "fast", "union"]

MIN_PRECISE_SHARE = 0.25
"""Characters of the quick main text that the precise one has at least where it is believed: pages of products, lists
and forums have texts that trafilatura takes for boilerplate (docs/decisions/0004-extraction.md)."""
MAX_COMPARED_LINES = 4_000_000
"""Pairs of lines that `union` aligns; of texts of more lines, those that are in no line of the first come behind it."""


def decode_html(body: bytes, charset: str | None) -> str:
    """Bytes to text: UTF-8 when they are valid UTF-8, else as the HTTP header, a meta tag or their statistics say.

    Validity goes first because headers are wrong more often than other text is UTF-8 by accident; a few broken bytes
    in much of it do not make it something else. Escape and null bytes are left to the declared encoding: ISO-2022 and
    UTF-16 are valid UTF-8, but mean something else.
    """
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    if b"\x1b" not in body and b"\0" not in body:
        try:
            return body.decode("utf-8-sig")
        except UnicodeDecodeError:
            if _is_mostly_utf8(body):
                return body.decode("utf-8-sig", "replace")
    declared = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None
    found = (declared, detect_encoding(body, from_html_meta=True), detect_encoding(body, from_html_meta=False))
    # what says UTF-8 of bytes that are none has been refuted
    encoding = next((each for each in found if each and each != "utf-8"), "utf-8")
    return bytes_to_str(body, encoding, errors="replace")


def _is_mostly_utf8(body: bytes) -> bool:
    """Whether there are twenty times as many characters of several bytes as bytes that belong to none."""
    beyond_ascii = [char for char in body.decode("utf-8", "replace") if char > "\x7f"]
    return len(beyond_ascii) > 20 * beyond_ascii.count("\ufffd")


def quick_text(html: str) -> tuple[str, str]:
    """The main text of a page and all its text, by resiliparse: about 3 ms a page, a tenth of the precise one."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    main = extract_plain_text(tree, main_content=True, preserve_formatting=True, alt_texts=False, comments=False)
    # a long main text says all there is to know of the page's language
    plain = extract_plain_text(tree, alt_texts=False) if len(main) < 2000 else main
    return main, plain


class TooDeep(ValueError):
    """libxml2 stopped at 256 elements inside each other and dropped what follows."""


def main_text_at_any_depth(html: str, quick: str, mode: Mode) -> tuple[str, bool]:
    """What `main_text` returns, and whether the page had to be simplified for it.

    Raises TooDeep when that did not help.
    """
    try:
        return main_text(html, quick, mode), False
    except TooDeep:
        return main_text(simplify(html).markup, quick, mode), True


def main_text(html: str, quick: str, mode: Mode) -> str:
    """The text that a page's document has. `quick` is the main text that `quick_text` found."""
    if mode == "fast":
        return quick if quick.strip() else precise_text(html)
    precise = precise_text(html)
    if mode == "union":
        return union(precise, quick)
    return precise if len(precise) >= MIN_PRECISE_SHARE * len(quick) else quick


def precise_text(html: str) -> str:
    """The main text of a page by trafilatura (Barbaresi 2021), without its slow fallbacks; "" where it finds none.

    Raises TooDeep when the parser dropped a part of the page.
    """
    import trafilatura
    from trafilatura.utils import HTML_PARSER

    # deduplicate keeps state between pages: what a page gives would depend on the pages before it
    text = trafilatura.extract(
        html, fast=True, favor_precision=True, include_comments=False, include_tables=True, deduplicate=False
    )
    # the parser stops there, so it is the last thing it says
    error = HTML_PARSER.error_log.last_error
    if error is not None and error.type_name == "ERR_RESOURCE_LIMIT":
        raise TooDeep(error.message)
    return text or ""


def union(first: str, second: str) -> str:
    """The lines of the first text, and those of the second whose words do not stand in it, where they belong.

    Several extractors together find more of the text than each (arXiv:2602.19548); what one of them took for
    boilerplate is in the result, too.
    """
    from gristmill.text.words import words

    known = f" {' '.join(words(first))} "
    firsts, seconds = first.split("\n"), second.split("\n")
    first_keys, second_keys = [_key(line) for line in firsts], [_key(line) for line in seconds]
    if len(firsts) * len(seconds) > MAX_COMPARED_LINES:
        found = {*first_keys, " " * 2}
        return "\n".join([*firsts, *(line for line, key in zip(seconds, second_keys, strict=True) if key not in found)])
    joined: list[str] = []
    for _, start, stop, from_, to in SequenceMatcher(None, first_keys, second_keys, autojunk=False).get_opcodes():
        joined += firsts[start:stop]
        joined += _missing(seconds[from_:to], second_keys[from_:to], known)
    return "\n".join(joined)


def _key(line: str) -> str:
    from gristmill.text.words import words

    return f" {' '.join(words(line))} "


def _missing(lines: list[str], keys: list[str], known: str) -> list[str]:
    return [line for line, key in zip(lines, keys, strict=True) if key.strip() and key not in known]


def opens_as_html(body: bytes) -> bool:
    """Whether a body without a media type is HTML all the same."""
    return re.match(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<(?:!doctype html|html)", body[:512], re.IGNORECASE) is not None
