"""Archive files become pages: every response decoded, every text extracted before taken over, every loss reported.

Reads `.warc`, `.arc` and WET files, plain or gzipped. Framing is `gristmill.crawl.framing`, the undoing of transfer
codings `gristmill.crawl.bodies`. Memory is bounded by `max_body_bytes`, whatever a record says of itself.
Left out: `.warc.zst`, and responses cut into several records (WARC `continuation`), which are counted.

A content that breaks off is never kept: its last sentence is half a sentence, and where a checksum is missing, any of
it may be wrong. A content whose declared length alone is wrong is kept when it proves itself to be whole (`repaired`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gristmill.crawl.bodies import BrokenBody, decode_body, is_chunked_to_the_end
from gristmill.crawl.framing import Record, RecordHead, read_records
from gristmill.crawl.heads import HEAD_BYTES, Head
from gristmill.crawl.members import Damage

OPT_OUT_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy")
# the date of a text whose source has none: the WARC standard wants one in every record
UNKNOWN_DATE = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Page:
    """One HTTP response, or a text or page that was stored without one.

    offset: of its record; where several records share a gzip member, the member's offset plus the record's position
        in the decoded member.
    date: WARC-Date; "" where the source has none.
    status: 200 where there was no HTTP.
    mime: media type without parameters, lower case, "" when there is none. charset: as the header names it.
    body: decoded; `cut` when it is longer than `max_body_bytes` and only its beginning was read.
    record_type: `response`, `conversion` (text made from a page or another source, such as WET) or `resource` (a page
        stored without HTTP).
    license: of this document, where it differs from its source's. code_language: `lang` of `text/x-source`.
    headers: values of OPT_OUT_HEADERS by lower-cased name.
    truncated: why the crawler did not fetch all of it (`length`, `time`, `disconnect`, …), or `content-length` where
        HTTP declared more bytes than there are.
    repaired: what was wrong with the record (`length`), where its content proved to be whole.
    """

    offset: int
    url: str
    date: str
    status: int
    mime: str
    charset: str | None
    body: bytes
    cut: bool
    record_type: str = "response"
    license: str | None = None
    code_language: str | None = None
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    truncated: str | None = None
    repaired: str | None = None


@dataclass(frozen=True)
class Ignored:
    """A whole record whose content is no page: `revisit`, `continuation`, an image as `resource`, …"""

    offset: int
    record_type: str


def read_responses(path: Path, *, max_body_bytes: int) -> Iterator[Page | Ignored | Damage]:
    """All records of an archive file that may be pages, in file order. Raises nothing for its content.

    Damage kinds: `truncated` and `corrupt` (the gzip member), `length` (the declared one is wrong), `header` and `http`
    (cannot be parsed), `body` (its encoding is broken), `garbage` (bytes that belong to no record).
    """
    with path.open("rb") as file:
        for record in read_records(file, max_content_bytes=max_body_bytes + HEAD_BYTES):
            found = record if isinstance(record, Damage) else _read(record, max_body_bytes)
            if found:
                yield found


def _read(record: Record, max_body_bytes: int) -> Page | Ignored | Damage | None:
    head = record.head
    if head.record_type in ("warcinfo", "request", "metadata"):
        return None  # they speak about other records and hold no content of a page
    mime, _, _ = _media_type(head.content_type)
    stored = {"conversion": ("text/plain", "text/x-source"), "resource": ("text/html", "application/xhtml+xml")}
    if head.record_type == "response":
        if head.content_type and mime != "application/http":
            return Ignored(record.offset, f"response {mime}")
        read = _response
    elif mime in stored.get(head.record_type, ()):
        read = _stored
    else:
        return Ignored(record.offset, head.record_type)
    if not head.url:
        return Damage(record.offset, "header", f"a {head.record_type} without WARC-Target-URI")
    return read(record, head, head.url, max_body_bytes)


def _response(record: Record, head: RecordHead, url: str, max_body_bytes: int) -> Page | Damage:
    http = Head.parse(record.content)
    if http.status is None:
        return Damage(record.offset, "http", f"no HTTP status line but {record.content[:40]!r}", url)
    if not http.ended and len(record.content) > HEAD_BYTES:
        return Damage(record.offset, "http", f"HTTP header fields of more than {HEAD_BYTES} bytes", url)
    body = record.content[http.size :]
    if record.repaired:
        whole = _whole_body(body, http)
        if whole is None:
            return Damage(record.offset, "length", record.repaired, url)
        body = whole
    truncated = head.truncated or _cut_short(body, http, record)
    if not record.cut:
        try:
            body = decode_body(body, http, max_bytes=max_body_bytes + 1)
        except BrokenBody as broken:
            return Damage(record.offset, "body", str(broken), url)
    mime, charset, _ = _media_type(http.get("content-type") or "")
    return Page(
        offset=record.offset,
        url=url,
        date=head.date,
        status=http.status,
        mime=mime,
        charset=charset,
        body=body[:max_body_bytes],
        cut=record.cut or len(body) > max_body_bytes,
        headers={name: http.fields[name] for name in OPT_OUT_HEADERS if name in http.fields},
        truncated=truncated,
        repaired="length" if record.repaired else None,
    )


def _stored(record: Record, head: RecordHead, url: str, max_body_bytes: int) -> Page | Damage:
    """A page or text without HTTP. With a wrong length it is whole where another record follows, or where it has more
    bytes than declared: a file that breaks off has fewer."""
    body = record.content
    if record.repaired:
        if not record.next_follows and len(body) < (head.declared or 0):
            return Damage(record.offset, "length", record.repaired, url)
        body = body.rstrip(b"\r\n")
    mime, charset, code_language = _media_type(head.content_type)
    return Page(
        offset=record.offset,
        url=url,
        date="" if head.date == UNKNOWN_DATE else head.date,
        status=200,
        mime=mime,
        charset=charset,
        body=body[:max_body_bytes],
        cut=record.cut or len(body) > max_body_bytes,
        record_type=head.record_type,
        license=head.license,
        code_language=code_language,
        truncated=head.truncated,
        repaired="length" if record.repaired else None,
    )


def _whole_body(body: bytes, http: Head) -> bytes | None:
    """The body of a record whose own length is wrong, without the line ends behind the record; None unless HTTP says
    where it ends, and it ends there."""
    if "chunked" in http.listed("transfer-encoding"):
        return body if is_chunked_to_the_end(body) else None
    declared = http.get("content-length") or ""
    if not re.fullmatch(r"[0-9]{1,18}", declared):
        return None
    length = int(declared)
    return body[:length] if len(body) >= length and not body[length:].strip(b"\r\n") else None


def _cut_short(body: bytes, http: Head, record: Record) -> str | None:
    """Whether an identity-coded body has fewer bytes than HTTP declares; of others crawlers keep stale lengths."""
    declared = http.get("content-length") or ""
    if record.cut or http.listed("content-encoding") or http.listed("transfer-encoding"):
        return None
    # some writers do not count a last line end
    is_short = re.fullmatch(r"[0-9]{1,18}", declared) and len(body) + 2 < int(declared)
    return "content-length" if is_short else None


def _media_type(content_type: str) -> tuple[str, str | None, str | None]:
    """Media type, `charset` and `lang` of a Content-Type."""
    mime, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", parameters, re.IGNORECASE)
    language = re.search(r"\blang=([\w+#.-]+)", parameters)
    return mime.strip().lower(), charset[1] if charset else None, language[1] if language else None
