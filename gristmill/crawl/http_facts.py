"""What an HTTP answer says of the file it carries: where its bytes lie, which version they are of, how to check them.

Follows RFC 9110 (Content-Range, Retry-After, ETag), RFC 9530 (Repr-Digest) and, for servers that state nothing newer,
the obsolete Content-MD5 of RFC 1864. A header that cannot be read is taken for absent.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)")
_DIGEST = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]+={0,2}):", re.IGNORECASE)


@dataclass(frozen=True)
class ContentRange:
    """start: of the part that was sent, None for `bytes */TOTAL`. total: length of the whole file, None for `*`."""

    start: int | None
    total: int | None

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> "ContentRange":
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if not found:
            return cls(None, None)
        start, _, total = found.groups()
        return cls(int(start) if start else None, int(total) if total != "*" else None)


def content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def version(headers: Mapping[str, str]) -> str | None:
    """What changes when the file does: the entity tag, else the time of its last change."""
    return headers.get("etag") or headers.get("last-modified")


def can_guard_a_range(version: str | None) -> bool:
    """Whether `If-Range` may name it (RFC 9110, 13.1.5: no weak entity tag; a date is not precise enough here)."""
    return version is not None and version.startswith('"')


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, whether the server gives them or a date; None when it says nothing."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def whole_file_digest(headers: Mapping[str, str], *, is_whole: bool) -> tuple[str, str] | None:
    """(hashlib's name of the algorithm, hex digest of the whole file) that the server states; None without one.

    is_whole: the answer carries the whole file. Content-MD5 is about what is sent, so only then about the file.
    """
    found = _DIGEST.search(headers.get("repr-digest", ""))
    if found:
        algorithm, encoded = found[1].lower().replace("-", ""), found[2]
    elif is_whole and "content-md5" in headers:
        algorithm, encoded = "md5", headers["content-md5"].strip()
    else:
        return None
    try:
        return algorithm, base64.b64decode(encoded, validate=True).hex()
    except binascii.Error:
        return None
