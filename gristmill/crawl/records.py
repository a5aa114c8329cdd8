"""WARC files become pages: every response record with its HTTP message decoded, every loss reported.

Framing is done here, on the decoded members, and headers and transfer codings are parsed by fastwarc: its own
iterator takes a record that is shorter than declared for whole, lets a wrong Content-Length swallow what follows, and
leaves the rest of a file after a bad member. Memory is bounded by `max_body_bytes`, whatever a record says of itself.
Left out: ARC files and `.warc.zst`.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastwarc.warc import HeaderMap

from gristmill.crawl.bodies import BrokenBody, decode_body
from gristmill.crawl.members import WARC_MAGIC, Damage, Member, members

HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Page:
    """One HTTP response.

    offset: of its record; where several records share a gzip member, the member's offset plus the record's position
        in the decoded member.
    mime: media type without parameters, lower case, "" when there is none. charset: as the header names it.
    body: decoded; `cut` when it is longer than `max_body_bytes` and only its beginning was read.
    """

    offset: int
    url: str
    date: str
    status: int
    mime: str
    charset: str | None
    body: bytes
    cut: bool


@dataclass(frozen=True)
class Ignored:
    """A whole record whose content is no HTTP response: `resource`, `conversion`, `revisit`, …"""

    offset: int
    record_type: str


def read_responses(path: Path, *, max_body_bytes: int) -> Iterator[Page | Ignored | Damage]:
    """All response records of a `.warc` or `.warc.gz` file, in file order. Raises nothing for its content.

    Damage kinds: `truncated` and `corrupt` (the gzip member), `length` (Content-Length is wrong), `header` and `http`
    (cannot be parsed), `body` (its encoding is broken), `garbage` (bytes that belong to no record).
    """
    with path.open("rb") as file:
        for member in members(file):
            if isinstance(member, Damage):
                yield member
            else:
                yield from _records(member, max_body_bytes)


def _records(member: Member, max_body_bytes: int) -> Iterator[Page | Ignored | Damage]:
    window = _Window(member)
    reported = False
    while window.skip_newlines():
        start = window.position
        header = _Header.parse(window.peek(HEADER_BYTES))
        if header and _is_whole(header, window, max_body_bytes):
            block = window.peek(header.size + min(header.declared, max_body_bytes + HEADER_BYTES))[header.size :]
            record = _record(header, block, member.offset + start, max_body_bytes)
            if record:
                yield record
            window.skip(header.size + header.declared)
            continue
        kind = "length" if header else "header" if window.peek(len(WARC_MAGIC)) == WARC_MAGIC else "garbage"
        window.skip(header.size if header else 0)
        there = window.skip_to_next_record()
        found = f"declared {header.declared} bytes, found {there}" if header else f"{there} bytes without a WARC header"
        yield Damage(member.offset + start, member.failure or kind, found, header.url if header else None)
        reported = member.failure is not None
    if member.failure and not reported:
        yield Damage(member.offset, member.failure, f"the gzip member ends after {window.position} bytes")


def _is_whole(header: "_Header", window: "_Window", max_body_bytes: int) -> bool:
    """Whether the record at the window's position has the length it declares: another record follows, or the end."""
    length = header.size + header.declared
    if header.declared > max_body_bytes + HEADER_BYTES:
        return window.position + length <= window.member.decoded_bytes()
    # two line ends stand behind a record; some writers leave more, or fewer
    content = window.peek(length + 8 + len(WARC_MAGIC))
    following = content[length:].lstrip(b"\r\n")[: len(WARC_MAGIC)]
    if len(content) < length or not WARC_MAGIC.startswith(following):
        return False
    return bool(following) or window.member.failure != "corrupt"


def _record(header: "_Header", block: bytes, offset: int, max_body_bytes: int) -> Page | Ignored | Damage | None:
    """block: the record's content, or the beginning of one that is too long."""
    if header.record_type in ("warcinfo", "request", "metadata"):
        return None  # they speak about other records and hold no content of a page
    if header.record_type != "response":
        return Ignored(offset, header.record_type)
    if header.content_type and not header.content_type.startswith("application/http"):
        return Ignored(offset, f"response {header.content_type}")
    if not header.url:
        return Damage(offset, "header", "a response without WARC-Target-URI")
    head = _Head.parse(block[:HEADER_BYTES])
    if head.headers.status_code is None:
        return Damage(offset, "http", f"no HTTP status line but {block[:40]!r}", header.url)
    body, cut = block[head.size :], len(block) < header.declared
    if not cut:
        try:
            body = decode_body(body, head.headers, max_bytes=max_body_bytes + 1)
        except BrokenBody as broken:
            return Damage(offset, "body", str(broken), header.url)
    mime, _, parameters = (head.headers.get("content-type") or "").partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", parameters, re.IGNORECASE)
    return Page(
        offset=offset,
        url=header.url,
        date=header.date,
        status=head.headers.status_code,
        mime=mime.strip().lower(),
        charset=charset.group(1) if charset else None,
        body=body[:max_body_bytes],
        cut=cut or len(body) > max_body_bytes,
    )


@dataclass(frozen=True)
class _Head:
    """A start line and header fields, with the number of bytes up to the content."""

    headers: HeaderMap
    size: int

    @classmethod
    def parse(cls, opening: bytes) -> "_Head":
        blank = re.search(rb"\r*\n\r*\n", opening)
        length = blank.end() if blank else len(opening)
        # fastwarc knows CRLF only; archives in the wild also have LF and CR CR LF
        lines = [line.strip(b"\r") for line in opening[:length].rstrip(b"\r\n").split(b"\n")]
        headers = HeaderMap("utf-8")
        headers.parse(io.BytesIO(b"\r\n".join(lines) + b"\r\n\r\n"))
        return cls(headers, length)


@dataclass(frozen=True)
class _Header:
    """What a WARC header says of its record."""

    size: int
    declared: int
    record_type: str
    url: str | None
    date: str
    content_type: str

    @classmethod
    def parse(cls, opening: bytes) -> "_Header | None":
        """None when this is no WARC header, or one without a usable Content-Length."""
        if not opening.startswith(WARC_MAGIC):
            return None
        head = _Head.parse(opening)
        declared = head.headers.get("content-length") or ""
        if not re.fullmatch(r"[0-9]{1,20}", declared):
            return None
        url = head.headers.get("warc-target-uri")
        return cls(
            size=head.size,
            declared=int(declared),
            record_type=(head.headers.get("warc-type") or "unknown").lower(),
            url=url.strip("<> \t") if url else None,
            date=head.headers.get("warc-date") or "",
            content_type=(head.headers.get("content-type") or "").lower(),
        )


class _Window:
    """A member read forward, with as many of its next bytes in memory as were last asked for."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.position = 0
        self._buffer = bytearray()

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        while len(self._buffer) < size:
            piece = self.member.read()
            if not piece:
                break
            self._buffer += piece
        return bytes(self._buffer[:size])

    def skip(self, size: int) -> None:
        target = self.position + size
        while self.position < target and self.peek(1):
            self._drop(min(target - self.position, len(self._buffer)))

    def skip_newlines(self) -> bool:
        """Skip line ends; False when nothing follows them."""
        while opening := self.peek(1 << 10):
            rest = opening.lstrip(b"\r\n")
            self._drop(len(opening) - len(rest))
            if rest:
                return True
        return False

    def skip_to_next_record(self) -> int:
        """Skip to the next line that opens a WARC record, or to the end. Returns the bytes skipped."""
        start, overlap = self.position, len(b"\nWARC/1") - 1
        while True:
            ended = len(self.peek(1 << 20)) < 1 << 20
            found = re.search(rb"\nWARC/[0-9]", self._buffer)
            if found or ended:
                self._drop(found.start() + 1 if found else len(self._buffer))
                return self.position - start
            self._drop(len(self._buffer) - overlap)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self.position += size
