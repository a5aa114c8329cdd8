"""HTTP bodies as they were before transfer: chunks joined, compression undone, never more than asked for in memory."""

import io
import re
import zlib

from fastwarc.stream_io import BrotliReader, WarcReader, ZstdReader

from gristmill.crawl.heads import Head
from gristmill.crawl.members import GZIP_MAGIC

# size in hex, extensions (RFC 9112, section 7.1); fastwarc's ChunkedReader refuses the extensions
_CHUNK_LINE = re.compile(rb"\s*([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
MAX_CODINGS = 4
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\f\r\x1b")


class BrokenBody(ValueError):
    """A body in its declared encoding that breaks off, or is damaged inside."""


def decode_body(body: bytes, http: Head, *, max_bytes: int) -> bytes:
    """Undo Transfer-Encoding and Content-Encoding; at most `max_bytes` are decoded.

    A body that is not in the declared encoding at all is returned as it is: many crawlers store the decoded body
    beside the headers of the encoded one. Raises BrokenBody.
    """
    codings = http.listed("content-encoding") + http.listed("transfer-encoding")
    if len(codings) > MAX_CODINGS:
        raise BrokenBody(f"{len(codings)} codings on top of each other; at most {MAX_CODINGS} are undone")
    for coding in reversed(codings):
        if coding == "chunked":
            body = _join_chunks(body, max_bytes)
        elif coding in ("gzip", "x-gzip", "deflate"):
            body = _inflate(body, coding, max_bytes)
        elif coding == "br":
            body = _read(BrotliReader(io.BytesIO(body)), body, coding, max_bytes)
        elif coding == "zstd":
            body = _read(ZstdReader(io.BytesIO(body)), body, coding, max_bytes)
        elif not _is_text(body) and coding not in ("identity", "none"):
            raise BrokenBody(
                f"coding {coding[:40]!r} is not known"
            )  # some servers name the charset here, so text stays
    return body


def is_chunked_to_the_end(body: bytes) -> bool:
    """Whether a body consists of chunks, the empty last one included."""
    try:
        return _join_chunks(body, len(body) + 1) is not body
    except BrokenBody:
        return False


def _join_chunks(body: bytes, max_bytes: int) -> bytes:
    joined, at = bytearray(), 0
    while len(joined) < max_bytes:
        line = _CHUNK_LINE.match(body, at)
        if line is None and at == 0:
            return body
        end = line.end() + int(line[1], 16) if line else len(body) + 1
        if line is None or end > len(body):
            raise BrokenBody(f"chunked breaks off after {len(joined)} decoded bytes")
        if end == line.end():
            break
        joined += body[line.end() : end]
        at = end
    return bytes(joined)


def _inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    if _is_text(body):
        return body
    is_wrapped = body[:2] == b"\x1f\x8b" or (body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0)
    # `deflate` means zlib, but some servers send the bare stream
    decoded, rest = b"", body
    while rest and len(decoded) < max_bytes:
        decoder = zlib.decompressobj(wbits=47 if is_wrapped else -15)
        try:
            decoded += decoder.decompress(rest, max_bytes - len(decoded))
        except zlib.error as error:
            raise BrokenBody(f"{coding}: {error}") from None
        if not decoder.eof and len(decoded) < max_bytes:
            raise BrokenBody(f"{coding} breaks off after {len(decoded)} decoded bytes")
        # a gzip body may consist of several members (RFC 1952, section 2.2); other bytes behind it are no content
        rest = decoder.unused_data if decoder.unused_data.startswith(GZIP_MAGIC) else b""
    return decoded


def _read(reader: WarcReader, body: bytes, coding: str, max_bytes: int) -> bytes:
    decoded = bytearray()
    try:
        while len(decoded) < max_bytes and (piece := reader.read(min(1 << 16, max_bytes - len(decoded)))):
            decoded += piece
    except OSError:
        if not _is_text(body):
            raise BrokenBody(f"{coding} breaks off after {len(decoded)} decoded bytes") from None
        return body
    return bytes(decoded)


def _is_text(body: bytes) -> bool:
    """Whether the beginning has no control bytes; of compressed bytes every tenth is one."""
    opening = body[:1024]
    return len(opening.translate(None, _CONTROL)) == len(opening)
