"""Text as it is stored: one Unicode form, no control characters, no mojibake, no trailing blanks."""

import re
import unicodedata

_LINE_END = re.compile(r"\r\n?|[\x85\u2028\u2029]")
# CSI sequences (colours), OSC sequences (titles, links), two-character escapes; ECMA-48
_ANSI_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# C0 and C1 without \t and \n, the byte order mark, and surrogates, which UTF-8 and so Parquet cannot hold
_UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
_TRAILING_BLANKS = re.compile(r"[^\S\n]+$", re.MULTILINE)


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
    text = unicodedata.normalize("NFC", _UNWANTED.sub("", text))
    text = _TRAILING_BLANKS.sub("", text)
    if not keep_blank_lines:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n")
