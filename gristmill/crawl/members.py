"""The outer layer of a WARC or ARC file: its gzip members, decoded with bounded memory, damage stepped over.

The WARC standard (ISO 28500, annex D) recommends one gzip member a record. That is what makes a damaged file
recoverable: after a bad member, reading goes on at the next gzip magic whose content opens a record. fastwarc and
warcio end silently at that point, which is why members are decoded here. A plain file is treated as one member.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

GZIP_MAGIC = b"\x1f\x8b\x08"
WARC_MAGIC = b"WARC/"
PIECE_BYTES = 1 << 16
LINE_BYTES = 1 << 13

# URL, IP address, date, then type, length and, in version 2, more: archive.org/web/researcher/ArcFileFormat.php
ARC_LINE = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]{0,30}:\S{0,7000} [0-9a-fA-F.:]{1,45} [0-9]{8,20} [^\r\n]{1,900}\r?\n")


@dataclass(frozen=True)
class Damage:
    """Content that could not be used: where, of which kind, and what was found there."""

    offset: int
    kind: str
    found: str
    url: str | None = None


def members(file: BinaryIO) -> Iterator["Member | Damage"]:
    """The members of a file in file order, and a Damage for bytes between them that belong to none.

    A member must be read before the next is asked for; what is left of it is then read and thrown away.
    """
    file.seek(0)
    opening = file.read(LINE_BYTES)
    offset: int | None = 0
    if not opening.startswith(GZIP_MAGIC):
        # a gzip file whose first bytes are damaged is no plain file
        offset = None if _is_plain(opening) else next_record_member(file, 0)
        if offset is None:
            yield Member(file, 0, compressed=False)
            return
        yield Damage(0, "garbage", f"no gzip member; the first begins at {offset}")
    while offset is not None:
        member = Member(file, offset)
        yield member
        while member.read():
            pass
        if member.failure:
            # from the next byte: a broken deflate stream may have read past its true end, into good members
            offset = next_record_member(file, offset + 1)
            continue
        file.seek(member.end)
        following = file.read(len(GZIP_MAGIC))
        if following == GZIP_MAGIC:
            offset = member.end
        elif following:
            offset = next_record_member(file, member.end + 1)
            yield Damage(member.end, "garbage", f"no gzip member; the next begins at {offset or 'no place'}")
        else:
            offset = None


class Member:
    """The decoded bytes of one gzip member, or of a plain file, read forward only.

    failure: why it ended early (`truncated`, `corrupt`), known once read() returned b"".
    end: offset in the file of the first byte after it, known once read() returned b"" without a failure.
    """

    def __init__(self, file: BinaryIO, offset: int, *, compressed: bool = True) -> None:
        self.file, self.offset, self.compressed = file, offset, compressed
        self.failure: str | None = None
        self.end = offset
        self._decoder = zlib.decompressobj(wbits=31)
        file.seek(offset)

    def read(self) -> bytes:
        """The next piece, at most PIECE_BYTES; b"" at the end."""
        if not self.compressed:
            piece = self.file.read(PIECE_BYTES)
            self.end += len(piece)
            return piece
        while not (self._decoder.eof or self.failure):
            encoded = self._decoder.unconsumed_tail or self.file.read(PIECE_BYTES)
            try:
                piece = self._decoder.decompress(encoded, PIECE_BYTES)
            except zlib.error:
                self.failure = "corrupt"
                break
            if self._decoder.eof:
                self.end = self.file.tell() - len(self._decoder.unused_data)
            elif not encoded and not piece:
                self.failure = "truncated"
            if piece:
                return piece
        return b""

    def go_on(self) -> bool:
        """Read the gzip member that follows as if it belonged to this one; False when there is none, or it opens a
        record. Only for a record that lacks bytes: some writers put a record's head and its content into two."""
        if not self.compressed or self.failure or not self._decoder.eof:
            return False
        opening = _opening_of_member(self.file, self.end)
        if not opening or opens_record(opening):
            return False
        self.file.seek(self.end)
        self._decoder = zlib.decompressobj(wbits=31)
        return True

    def mark(self) -> tuple[int, Any]:
        """Where reading stands, for `reset`."""
        return self.file.tell(), self._decoder.copy()

    def reset(self, mark: tuple[int, Any]) -> None:
        """Read on from where `mark` was taken."""
        position, decoder = mark
        self.file.seek(position)
        self._decoder, self.failure = decoder.copy(), None
        if not self.compressed:
            self.end = position


def holds_warc(file: BinaryIO) -> bool:
    """Whether a file is plain WARC or ARC, or holds a gzip member that opens a record of either."""
    file.seek(0)
    return opens_record(file.read(LINE_BYTES)) or next_record_member(file, 0) is not None


def opens_record(content: bytes) -> bool:
    """Whether content begins with the head of a WARC record or the line of an ARC record; LINE_BYTES of it decide."""
    return content.startswith(WARC_MAGIC) or ARC_LINE.match(content) is not None


def _is_plain(opening: bytes) -> bool:
    return re.match(rb"WARC/[0-9.]+\r*\n", opening) is not None or ARC_LINE.match(opening) is not None


def opening_bytes(file: BinaryIO, size: int = 20) -> bytes:
    """The first bytes of a file, decoded when it is gzip; what an error about it shows."""
    file.seek(0)
    encoded = file.read(PIECE_BYTES)
    try:
        return zlib.decompressobj(wbits=31).decompress(encoded, size)
    except zlib.error:
        return encoded[:size]


def next_record_member(file: BinaryIO, start: int) -> int | None:
    """Offset of the first gzip member at or after `start` whose content opens a record."""
    overlap = len(GZIP_MAGIC) - 1
    while True:
        file.seek(start)
        chunk = file.read(1 << 20)
        for match in re.finditer(re.escape(GZIP_MAGIC), chunk):
            if opens_record(_opening_of_member(file, start + match.start())):
                return start + match.start()
        if len(chunk) <= overlap:
            return None
        start += len(chunk) - overlap


def _opening_of_member(file: BinaryIO, offset: int) -> bytes:
    """The first bytes of the content of the gzip member at `offset`; b"" when none begins there.

    They are fewer than LINE_BYTES where the member breaks off, or opens a WARC record: the magic alone shows that, and
    a member that is damaged further on must still be found, so that its loss is reported.
    """
    file.seek(offset)
    encoded = file.read(LINE_BYTES)
    opening = b""
    for size in (len(WARC_MAGIC), LINE_BYTES):
        try:
            opening = zlib.decompressobj(wbits=31).decompress(encoded, size)
        except zlib.error:
            return opening
        if opening.startswith(WARC_MAGIC):
            return opening
    return opening
