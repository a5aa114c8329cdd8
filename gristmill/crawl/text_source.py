"""The source `text`: files such as books, papers and transcripts become one document each, or several."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from gristmill.crawl.compressed import BrokenFile, pieces
from gristmill.crawl.conversions import Losses, SourceText, local_url, write_conversions
from gristmill.crawl.fetched import fetched_files
from gristmill.crawl.text_sources_config import TextSource
from gristmill.report import Report

# a text with more replacement characters than this was not in the encoding it was read in
_MAX_REPLACED_RATIO = 0.001
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def write_warcs(source: TextSource, folder: Path) -> Report:
    """Write all files as WARC files. Raises ValueError when none of them has a text."""
    losses = Losses()
    report = write_conversions(_texts(source, folder, losses), folder, losses, shard_bytes=source.shard_bytes)
    if report.rows_out == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
        raise ValueError(
            f"no file of source {source.name!r} has a text ({reasons}); correct its paths, its `encoding` (now "
            f"{source.encoding}), or raise max_file_mb (now {source.max_file_mb:g})"
        )
    return report


def _texts(source: TextSource, folder: Path, losses: Losses) -> Iterator[SourceText]:
    for name, path in fetched_files(source, folder):
        content = _content(source, path, name, losses)
        text = None if content is None else decode_text(content, source.encoding)
        if text is None:
            if content is not None:
                losses.drop("encoding", name)
            continue
        parts = [part for part in split_text(text, source) if part.strip()]
        if not parts:
            losses.drop("empty", name)
        for number, part in enumerate(parts, start=1):
            yield SourceText(local_url(source.name, name, *([number] if len(parts) > 1 else [])), part)


def _content(source: TextSource, path: Path, name: str, losses: Losses) -> bytes | None:
    content = bytearray()
    try:
        for piece in pieces(path):
            content += piece
            if len(content) > source.max_file_mb * 1_000_000:
                losses.drop("too_large", name)
                return None
    except BrokenFile as broken:
        losses.drop("broken_file", str(broken))
        return None
    return bytes(content)


def decode_text(content: bytes, encoding: str) -> str | None:
    """Bytes as text with `\\n` line ends, None when they are no text in this encoding.

    `auto`: what the byte order mark says, else UTF-8 when they are valid UTF-8, else by their statistics.
    """
    if encoding == "auto":
        marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
        text = _strict(content, marked or "utf-8") or ("" if not content else _guessed(content))
    else:
        text = _strict(content, encoding)
    if text is None or "\0" in text:
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def split_text(text: str, source: TextSource) -> Iterator[str]:
    """The documents of a text, in order; joined they have all its characters, form feeds apart."""
    for part in text.split("\f") if source.split_at_form_feeds else [text]:
        start = 0
        while source.max_chars and len(part) - start > source.max_chars:
            cut = _cut(part, start, start + source.max_chars)
            yield part[start:cut]
            start = cut
        yield part[start:]


def _cut(text: str, start: int, end: int) -> int:
    """Where to divide: behind the last blank line, else line end, else space, if one is in the second half."""
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, (start + end) // 2, end)
        if found >= 0:
            return found + len(mark)
    return end


def _strict(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _guessed(content: bytes) -> str | None:
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    text = bytes_to_str(content, detect_encoding(content) or "utf-8", errors="replace")
    return text if text.count("\ufffd") <= _MAX_REPLACED_RATIO * len(text) else None
