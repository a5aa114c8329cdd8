"""Common Crawl's index of captures: ask for those of a URL, then fetch each record by its byte range.

The index is a pywb CDX server (github.com/webrecorder/pywb/wiki/CDX-Server-API): an answer comes in pages, a page is
JSON lines, and 404 means that there are no captures. Every condition is sent along to spare the server, and checked
here again, so that the answer does not depend on which filters it understands.
"""

import base64
import hashlib
import io
import json
import re
from typing import Any

from pydantic import ValidationError

from gristmill.crawl.commoncrawl_config import CdxQuery
from gristmill.crawl.fetch import Fetcher
from gristmill.crawl.heads import HEAD_BYTES, Head
from gristmill.crawl.members import Member
from gristmill.crawl.transfer import Query, Refused
from gristmill.errors import SourceUnavailable
from gristmill.schema import Schema

# Common Crawl cuts content at 1 MiB, since 2025 at 5 MiB; a longer record is none of its own
MAX_RECORD_BYTES = 1 << 26


class Capture(Schema):
    """One line of the index: the record of `url` in `filename`. digest: base32 of the SHA-1 of its content, or ""."""

    url: str
    timestamp: str
    filename: str
    offset: int
    length: int
    digest: str


def find_captures(fetcher: Fetcher, index: str, query: CdxQuery) -> list[Capture]:
    """The captures that `query` describes, in the order of the index, each once.

    index: address of one crawl's index. Raises SourceUnavailable as `Fetcher.get`, and for an answer that is no index.
    """
    asked = _asked(query)
    found: dict[tuple[str, int], Capture] = {}
    for page in range(_number_of_pages(fetcher, index, asked)):
        for line in _lines(fetcher, index, {**asked, "page": str(page)}):
            if _is_wanted(line, query):
                capture = _capture(line, index)
                found.setdefault((capture.filename, capture.offset), capture)
            if len(found) == query.limit:
                return list(found.values())
    return list(found.values())


def _asked(query: CdxQuery) -> Query:
    filters = [f"=status:{query.status}"] if query.status else []
    if query.mimes:
        filters.append(f"~mime-detected:({'|'.join(map(re.escape, query.mimes))})$")
    if query.languages:
        filters.append(f"~languages:({'|'.join(map(re.escape, query.languages))})(,.*)?$")
    return {"url": query.url, "matchType": query.match, "output": "json", "filter": filters}


def _number_of_pages(fetcher: Fetcher, index: str, asked: Query) -> int:
    for line in _lines(fetcher, index, {**asked, "showNumPages": "true"}):
        pages = line.get("pages")
        if isinstance(pages, int):
            return pages
        raise SourceUnavailable(f"{index} does not say how many pages its answer has, but {str(line)[:200]}")
    return 0


def _lines(fetcher: Fetcher, index: str, asked: Query) -> list[dict[str, Any]]:
    """One answer of the index."""
    try:
        return fetcher.get(index, _parse_lines, params=asked)
    except Refused as error:
        if error.status == 404:  # "No Captures found"
            return []
        raise


def _parse_lines(content: bytes) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in content.decode().splitlines()]
    strange = next((line for line in lines if not isinstance(line, dict)), None)
    if strange is not None:
        raise ValueError(f"{str(strange)[:200]!r} where a JSON object was expected")
    return lines


def _is_wanted(line: dict[str, Any], query: CdxQuery) -> bool:
    language = str(line.get("languages", "")).split(",")[0]
    return (
        (query.status is None or str(line.get("status")) == str(query.status))
        and (query.mimes is None or line.get("mime-detected", line.get("mime")) in query.mimes)
        and (query.languages is None or language in query.languages)
    )


def _capture(line: dict[str, Any], index: str) -> Capture:
    try:
        capture = Capture.model_validate({"digest": "", **{name: line.get(name) for name in Capture.model_fields}})
    except ValidationError as error:
        raise SourceUnavailable(f"{index} names a capture without url, filename, offset or length: {line}") from error
    if not 0 < capture.length <= MAX_RECORD_BYTES or capture.offset < 0:
        raise SourceUnavailable(f"{index} names a capture of {capture.length:,} bytes at {capture.offset:,}: {line}")
    return capture


def fetch_record(fetcher: Fetcher, base_url: str, capture: Capture) -> bytes:
    """The capture's gzip member, checked. Raises WrongContent when it is not the record that the index describes."""
    return fetcher.get_range(
        f"{base_url}/{capture.filename}",
        capture.offset,
        capture.length,
        fault_of=lambda content: fault_of_record(content, capture),
    )


def fault_of_record(content: bytes, capture: Capture) -> str | None:
    """What shows that `content` is not exactly the gzip member of this capture's record; None when nothing does.

    Compared are the URL, the lengths, and the digests that record and index state (WARC 1.1, 5.8 and 5.9).
    """
    member = Member(io.BytesIO(content), 0)
    opening = b""
    while len(opening) < HEAD_BYTES and (piece := member.read()):
        opening += piece
    head = Head.parse(opening)
    if not head.start_line.startswith("WARC/"):
        return f"no gzip member of a record, but {content[:20]!r}"
    url = (head.get("warc-target-uri") or "").strip("<>")
    if url != capture.url:
        return f"the record of {url}, not of {capture.url}"
    declared = head.get("content-length") or ""
    if not re.fullmatch(r"[0-9]{1,15}", declared):
        return f"Content-Length is {declared!r}"
    missing, block, piece = int(declared), hashlib.sha1(usedforsecurity=False), opening[head.size :]
    while piece:
        block.update(piece[:missing])
        missing -= min(len(piece), missing)
        piece = member.read()
    if member.failure or missing:
        return f"the record is {member.failure or 'shorter than it says'}"
    if member.end != len(content):
        return f"the record ends after {member.end:,} of {len(content):,} bytes"
    stated = _sha1(head.get("warc-block-digest"))
    if stated and stated != base64.b32encode(block.digest()).decode():
        return "the content does not fit the record's own digest"
    payload = _sha1(head.get("warc-payload-digest"))
    if payload and capture.digest and payload != capture.digest:
        return f"digest {payload}, but {capture.digest} in the index"
    return None


def _sha1(stated: str | None) -> str | None:
    algorithm, _, value = (stated or "").partition(":")
    return value.upper() if algorithm.lower() == "sha1" and re.fullmatch(r"[A-Za-z2-7]{32}", value) else None
