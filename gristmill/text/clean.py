"""Text as it is stored: one Unicode form, no control characters, no mojibake, no trailing blanks."""

import re
import unicodedata

_LINE_END = re.compile(r"\r\n?|[\x85\u2028\u2029]")
# CSI sequences (colours), OSC sequences (titles, links), two-character escapes; ECMA-48
_ANSI_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# C0 and C1 without \t and \n, the byte order mark, and surrogates, which UTF-8 and so Parquet cannot hold
_UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
# more than 30 marks on a letter is no writing (UAX 15's stream-safe text), and normalizing a run of them is quadratic
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u06d6-\u06dc\u0730-\u074a\u07eb-\u07f3\u0816-\u0823"
    "\u08ca-\u08ff\u0e38-\u0e3a\u0e48-\u0e4b\u1ab0-\u1ace\u1dc0-\u1dff\u20d0-\u20f0\u302a-\u302f\u3099\u309a\ufe20-\ufe2f"
)
_TOO_MANY_MARKS = re.compile(f"([{_MARKS}]{{30}})[{_MARKS}]+")


def clean_text(text: str, *, keep_blank_lines: bool = False) -> str:
    """Normalize to NFC, repair mojibake where it is evident, remove what no reader sees.

    Keeps indentation; leaves at most one empty line between two others, unless they mean something, as in code.
    """
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    # a third of the time of cleaning, and plain ASCII is never mojibake
    if not text.isascii() and is_bad(text):
        text = fix_encoding(text)
    text = _ANSI_ESCAPE.sub("", _LINE_END.sub("\n", text))
    text = _UNWANTED.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", _TOO_MANY_MARKS.sub(r"\1", text))
    # not by a pattern that ends with `$`: it would try each blank of a long run
    text = "\n".join(map(str.rstrip, text.split("\n")))
    if not keep_blank_lines:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n")
