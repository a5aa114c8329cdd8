"""WARC and ARC records, cut out of decoded gzip members: where each begins, what its head says, its content.

fastwarc's iterator takes a record that is shorter than declared for whole, lets a wrong Content-Length swallow what
follows, and leaves the rest of a file after a bad member; so does warcio. Here a record counts as whole when another
one, or the end of an undamaged file, follows where it says it ends. Memory is bounded, whatever a record declares.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gristmill.crawl.heads import HEAD_BYTES, Head
from gristmill.crawl.members import ARC_LINE, LINE_BYTES, WARC_MAGIC, Damage, Member, members, opens_record

_NEXT_WARC = re.compile(rb"\nWARC/[0-9]")
_NEXT_ARC = re.compile(rb"\n" + ARC_LINE.pattern)
_NEXT_OF_EITHER = re.compile(_NEXT_WARC.pattern + rb"|" + _NEXT_ARC.pattern)
# two line ends stand behind a WARC record and one behind an ARC record; some writers leave more, or fewer
_LINE_ENDS = 8
MAX_VAIN_LOOKS = 16


@dataclass(frozen=True)
class RecordHead:
    """What a record's head says, WARC's and ARC's in one form; `size` is its own, `declared` its content's."""

    size: int
    declared: int | None
    record_type: str
    url: str | None
    date: str
    content_type: str
    truncated: str | None = None
    license: str | None = None
    is_arc: bool = False


@dataclass(frozen=True)
class Record:
    """offset: see `Page`. content: all of it, or `max_content_bytes` when it is `cut`. next_follows: another record
    stands behind it. repaired: what was wrong with the declared length, where the content goes on to the next record
    or to the end; whoever reads it has to find out whether it is whole."""

    offset: int
    head: RecordHead
    content: bytes
    cut: bool
    next_follows: bool = True
    repaired: str | None = None


def read_records(file: BinaryIO, *, max_content_bytes: int) -> Iterator[Record | Damage]:
    """All records of a file in file order. Raises nothing for its content.

    Damage kinds: `truncated` and `corrupt` (the gzip member), `length` (the declared length is wrong, and the next
    record far away), `header` (cannot be parsed), `garbage` (bytes that belong to no record).
    """
    for member in members(file):
        if isinstance(member, Damage):
            yield member
        else:
            yield from _records(member, max_content_bytes)


def _records(member: Member, max_content_bytes: int) -> Iterator[Record | Damage]:
    window = _Window(member)
    reported, is_arc = False, None
    while window.skip_newlines():
        offset = member.offset + window.position
        head = _parse_head(window)
        if head and head.declared is not None and _is_whole(head, window, max_content_bytes):
            is_arc = head.is_arc
            content = window.peek(head.size + min(head.declared, max_content_bytes))[head.size :]
            yield Record(offset, head, content, cut=len(content) < head.declared)
            window.skip(head.size + head.declared)
            continue
        if head and head.declared is not None:
            is_arc = head.is_arc
            window.skip(head.size)
            if opens_record(window.peek(LINE_BYTES)):
                found = f"declared {head.declared} bytes, found none: the next record stands right behind the head"
                yield Damage(offset, member.failure or "length", found, head.url)
                continue
            rest = window.peek_to_next_record(max_content_bytes, is_arc=is_arc)
            there = window.skip_to_next_record(is_arc=is_arc)
            found = f"declared {head.declared} bytes, found {there}"
            if rest is not None and member.failure is None:
                follows = bool(window.peek(1))
                yield Record(offset, head, rest, cut=False, next_follows=follows, repaired=found)
                continue
            yield Damage(offset, member.failure or "length", found, head.url)
        else:
            kind = "header" if head or window.peek(len(WARC_MAGIC)) == WARC_MAGIC else "garbage"
            window.skip(head.size if head else 0)
            there = window.skip_to_next_record(is_arc=is_arc)
            found = f"{there} bytes after a head without a length" if head else f"{there} bytes without a WARC header"
            yield Damage(offset, member.failure or kind, found, head.url if head else None)
        reported = member.failure is not None
    if member.failure and not reported:
        yield Damage(member.offset, member.failure, f"the gzip member ends after {window.position} bytes")


def _is_whole(head: RecordHead, window: "_Window", max_content_bytes: int) -> bool:
    """Whether the record at the window's position has the length it declares: another record follows, or the end."""
    assert head.declared is not None
    length = head.size + head.declared
    size = _LINE_ENDS + (LINE_BYTES if head.is_arc else len(WARC_MAGIC))
    if head.declared > max_content_bytes:
        following, failure = window.look_ahead(length, size)
    else:
        following = window.peek_after(length, size)
        while following is None and window.member.go_on():
            following = window.peek_after(length, size)
        failure = window.member.failure
    if following is None:
        return False
    following = following.lstrip(b"\r\n")
    if not following:
        return failure != "corrupt"
    return opens_record(following) if head.is_arc else WARC_MAGIC.startswith(following[: len(WARC_MAGIC)])


def _parse_head(window: "_Window") -> RecordHead | None:
    """None when no head of a record stands here, or one of WARC that does not end, or has no usable length."""
    opening = window.peek(LINE_BYTES)
    if opening.startswith(WARC_MAGIC):
        return _warc_head(window)
    line = ARC_LINE.match(opening)
    return _arc_head(line[0]) if line else None


def _warc_head(window: "_Window") -> RecordHead | None:
    head = window.warc_head()
    declared = head.get("content-length") or ""
    if not head.ended or not re.fullmatch(r"[0-9]{1,20}", declared):
        return None
    url = head.get("warc-target-uri")
    segment = head.get("warc-segment-number")
    return RecordHead(
        size=head.size,
        declared=int(declared),
        record_type=(head.get("warc-type") or "unknown").lower(),
        url=url.strip("<> \t") if url else None,
        date=head.get("warc-date") or "",
        content_type=(head.get("content-type") or "").lower(),
        truncated=head.get("warc-truncated") or (f"segment {segment}" if segment else None),
        license=head.get("gristmill-license"),
    )


def _arc_head(line: bytes) -> RecordHead:
    """The head of an ARC record, whose content is an HTTP message where its URL is one."""
    url, _, date, content_type, *more = (field.decode("utf-8", "replace") for field in line.split())
    length = more[-1] if more else ""
    scheme = url.partition(":")[0].lower()
    return RecordHead(
        size=len(line),
        declared=int(length) if re.fullmatch(r"[0-9]{1,20}", length) else None,
        record_type={"http": "response", "https": "response", "filedesc": "warcinfo"}.get(scheme, scheme),
        url=url,
        date=_iso_date(date),
        content_type="application/http" if scheme in ("http", "https") else content_type,
        is_arc=True,
    )


def _iso_date(digits: str) -> str:
    """`20140216050221` as a WARC writes it; "" where these are no 14 digits."""
    if len(digits) != 14:
        return ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:]}Z"


class _Window:
    """A member read forward, with as many of its next bytes in memory as were last asked for."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.position = 0
        self._buffer = bytearray()
        self._vain_looks = 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        self._fill(size)
        return bytes(self._buffer[:size])

    def peek_after(self, distance: int, size: int) -> bytes | None:
        """`size` bytes, fewer at the end, that stand `distance` bytes ahead; None when the end comes before them."""
        self._fill(distance + size)
        return bytes(self._buffer[distance : distance + size]) if len(self._buffer) >= distance else None

    def look_ahead(self, distance: int, size: int) -> tuple[bytes | None, str | None]:
        """What `peek_after` returns and the member's failure there, for a distance too great to keep in memory.

        None as well after MAX_VAIN_LOOKS without a record at their end: each may read to the end of the file.
        """
        if self._vain_looks == MAX_VAIN_LOOKS:
            return None, None
        mark, buffer, position = self.member.mark(), bytes(self._buffer), self.position
        self.skip(distance)
        reached = self.position == position + distance
        following, failure = self.peek(size) if reached else None, self.member.failure
        self.member.reset(mark)
        self._buffer, self.position = bytearray(buffer), position
        self._vain_looks += not (following or b"").lstrip(b"\r\n").startswith(WARC_MAGIC)
        return following, failure

    def warc_head(self) -> Head:
        """The head at this position. It ends before a line that opens the next record, so that a file of nothing but
        opened heads costs its length, not its square."""
        self._fill(HEAD_BYTES)
        following = _NEXT_WARC.search(self._buffer, 0, HEAD_BYTES)
        end = following.start() + 1 if following else HEAD_BYTES
        return Head.parse(self._buffer[:end])

    def peek_to_next_record(self, limit: int, *, is_arc: bool | None) -> bytes | None:
        """What stands before the next record, or the end; None when that is more than `limit` bytes."""
        self._fill(limit)
        found = _next(is_arc).search(self._buffer, 0, limit)
        if found:
            return bytes(self._buffer[: found.start() + 1])
        return bytes(self._buffer) if len(self._buffer) < limit else None

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

    def skip_to_next_record(self, *, is_arc: bool | None) -> int:
        """Skip to the next line that opens a record, or to the end. Returns the bytes skipped.

        is_arc: of which kind the record before was; a page about archives may have lines like those of the other.
        """
        start = self.position
        while True:
            self._fill(1 << 20)
            found = _next(is_arc).search(self._buffer)
            ended = len(self._buffer) < 1 << 20
            if found or ended:
                self._drop(found.start() + 1 if found else len(self._buffer))
                return self.position - start
            self._drop(len(self._buffer) - LINE_BYTES)

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            piece = self.member.read()
            if not piece:
                break
            self._buffer += piece

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self.position += size


def _next(is_arc: bool | None) -> re.Pattern[bytes]:
    return _NEXT_OF_EITHER if is_arc is None else _NEXT_ARC if is_arc else _NEXT_WARC
