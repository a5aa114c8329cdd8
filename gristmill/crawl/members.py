"""The outer layer of a WARC file: its gzip members, decoded with bounded memory, damage noticed and stepped over.

The WARC standard (ISO 28500, annex D) recommends one gzip member a record. That is what makes a damaged file
recoverable: after a bad member, reading goes on at the next gzip magic whose content opens with `WARC/`. fastwarc and
warcio end silently at that point, which is why members are decoded here. A plain file is treated as one member.
"""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b\x08"
WARC_MAGIC = b"WARC/"
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Damage:
    """Content that could not be used: where, of which kind, and what was found there."""

    offset: int
    kind: str
    found: str
    url: str | None = None


def members(file: BinaryIO) -> Iterator["Member | Damage"]:
    """The members of a WARC file in file order, and a Damage for bytes between them that belong to none.

    A member must be read before the next is asked for; what is left of it is then read and thrown away.
    """
    file.seek(0)
    if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
        yield Member(file, 0, compressed=False)
        return
    offset: int | None = 0
    while offset is not None:
        member = Member(file, offset)
        yield member
        while member.read():
            pass
        if member.failure:
            # from the next byte: a broken deflate stream may have read past its true end, into good members
            offset = next_warc_member(file, offset + 1)
            continue
        file.seek(member.end)
        following = file.read(len(GZIP_MAGIC))
        if following == GZIP_MAGIC:
            offset = member.end
        elif following:
            offset = next_warc_member(file, member.end + 1)
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

    def decoded_bytes(self) -> int:
        """How many bytes read() returns in all. Of a gzip member that is known only by decoding it once more."""
        position = self.file.tell()
        if self.compressed:
            total = sum(len(piece) for piece in iter(Member(self.file, self.offset).read, b""))
        else:
            total = self.file.seek(0, io.SEEK_END) - self.offset
        self.file.seek(position)
        return total


def holds_warc(file: BinaryIO) -> bool:
    """Whether a file is plain WARC, or holds a gzip member that opens a WARC record."""
    file.seek(0)
    return file.read(len(WARC_MAGIC)) == WARC_MAGIC or next_warc_member(file, 0) is not None


def opening_bytes(file: BinaryIO, size: int = 20) -> bytes:
    """The first bytes of a file, decoded when it is gzip; what an error about it shows."""
    file.seek(0)
    encoded = file.read(PIECE_BYTES)
    try:
        return zlib.decompressobj(wbits=31).decompress(encoded, size)
    except zlib.error:
        return encoded[:size]


def next_warc_member(file: BinaryIO, start: int) -> int | None:
    """Offset of the first gzip member at or after `start` whose content opens with `WARC/`."""
    overlap = len(GZIP_MAGIC) - 1
    while True:
        file.seek(start)
        chunk = file.read(1 << 20)
        for match in re.finditer(re.escape(GZIP_MAGIC), chunk):
            if _opens_warc(file, start + match.start()):
                return start + match.start()
        if len(chunk) <= overlap:
            return None
        start += len(chunk) - overlap


def _opens_warc(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    try:
        opening = zlib.decompressobj(wbits=31).decompress(file.read(PIECE_BYTES), len(WARC_MAGIC))
    except zlib.error:
        return False
    return opening == WARC_MAGIC
