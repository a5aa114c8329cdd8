"""Texts that come from no web crawl, written as WARC `conversion` records, the form in which WET files hold text.

Everything after ingest then reads one format. The bytes depend on the texts alone: ids are derived from content, gzip
headers carry no time, and a text without a date has UNKNOWN_DATE, which `records` reads as none.
"""

import gzip
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote

from gristmill.crawl.records import UNKNOWN_DATE
from gristmill.progress import progress
from gristmill.report import Report

MAX_FIELD_BYTES = 4_000


@dataclass(frozen=True)
class SourceText:
    """One document of a source. url: see `local_url` where there is none. date: as in WARC-Date, None when not known.

    license: where it differs from the source's. code_language: of source code, as `gristmill.crawl.code_rules` names
    it; None for prose.
    """

    url: str
    text: str
    date: str | None = None
    license: str | None = None
    code_language: str | None = None


@dataclass
class Losses:
    """What a source did not give: rows or files left out, by reason, and facts of kept ones that had to be made up."""

    dropped: Counter[str] = field(default_factory=Counter)
    made_up: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)


def write_conversions(texts: Iterable[SourceText], folder: Path, losses: Losses, *, shard_bytes: int) -> Report:
    """Write `texts-00000.warc.gz`, … in `folder`, each with records of about `shard_bytes` before compression.

    A text of white space alone is counted in `losses` as `empty`. The report counts in documents: rows_in those that
    `texts` gave and that it lost.
    """
    written, characters = 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    with progress(f"texts of {folder.name}", total=None, unit="documents") as bar:
        for number, records in enumerate(_shards(_records(texts, losses), shard_bytes)):
            path = folder / f"texts-{number:05d}.warc.gz"
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                file.write(_compressed(_warcinfo(path.name)))
                for record, size in records:
                    file.write(_compressed(record))
                    written, characters = written + 1, characters + size
                    bar.advance()
            part.rename(path)
    return Report(
        rows_in=written + losses.dropped.total(),
        rows_out=written,
        dropped=dict(sorted(losses.dropped.items())),
        metrics={"characters": float(characters)},
        details={
            "made_up": dict(sorted(losses.made_up.items())),
            "first_dropped": dict(sorted(losses.examples.items())),
        },
    )


def local_url(source: str, *place: str | int) -> str:
    """The address of a document that has none on the web: source and file as a path, then a row or part.

    It has no host, so that no rule about web domains takes a local source for one.
    """
    path, *inside = place
    fragment = "".join(f"#{quote(str(part), safe='')}" for part in inside)
    return f"file:///{quote(source)}/{quote(str(path), safe='/')}{fragment}"


def usable_url(value: object) -> str | None:
    """A source's URL as a WARC header can hold it; None for what is no URL, or too long for one."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= MAX_FIELD_BYTES // 4:
        return None
    # white space and controls are encoded: a line end would let a row write header fields of its own
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f<>]", lambda found: quote(found[0]), _unicode(value.strip()))


def usable_date(value: object) -> str | None:
    """A source's date, `YYYY-MM-DDThh:mm:ssZ`; None for what is none. Understands ISO 8601, dates of Parquet columns
    and seconds since 1970; a time without a zone is taken as UTC."""
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            moment = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        else:
            moment = datetime.fromisoformat(str(value).strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{moment.year:04d}{moment:-%m-%dT%H:%M:%SZ}"


def usable_license(value: object) -> str | None:
    """A source's licence on one line; None for what is none."""
    if not isinstance(value, str) or not value.strip():
        return None
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", _unicode(value.strip()))[: MAX_FIELD_BYTES // 4]


def _records(texts: Iterable[SourceText], losses: Losses) -> Iterator[tuple[bytes, int]]:
    """Each text as the bytes of a record, with its characters."""
    for text in texts:
        if not text.text.strip():
            losses.drop("empty", text.url)
            continue
        content = _unicode(text.text)
        kind = f"text/x-source; lang={text.code_language}" if text.code_language else "text/plain"
        fields = {"WARC-Target-URI": text.url, "WARC-Date": text.date or UNKNOWN_DATE}
        if text.license:
            fields["Gristmill-License"] = text.license
        yield _record("conversion", fields, f"{kind}; charset=utf-8", content.encode()), len(content)


def _record(record_type: str, fields: dict[str, str], content_type: str, content: bytes) -> bytes:
    digest = hashlib.sha256(fields.get("WARC-Target-URI", "").encode() + b"\0" + content).hexdigest()
    lines = [
        "WARC/1.1",
        f"WARC-Type: {record_type}",
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}>",
        *(f"{name}: {value}" for name, value in fields.items()),
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n\r\n"


def _warcinfo(name: str) -> bytes:
    facts = b"software: gristmill\r\nformat: WARC File Format 1.1\r\n"
    return _record("warcinfo", {"WARC-Date": UNKNOWN_DATE, "WARC-Filename": name}, "application/warc-fields", facts)


def _compressed(record: bytes) -> bytes:
    return gzip.compress(record, compresslevel=6, mtime=0)


def _shards(records: Iterator[tuple[bytes, int]], shard_bytes: int) -> Iterator[Iterator[tuple[bytes, int]]]:
    """The records in groups of at least `shard_bytes`, but for the last; a group must be used up before the next."""
    first = next(records, None)
    while first is not None:
        group = _Group(first, records, shard_bytes)
        yield iter(group)
        first = group.next


class _Group:
    def __init__(self, first: tuple[bytes, int], records: Iterator[tuple[bytes, int]], shard_bytes: int) -> None:
        self._first, self._records, self._shard_bytes = first, records, shard_bytes
        self.next: tuple[bytes, int] | None = None

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        yield self._first
        size = len(self._first[0])
        for record in self._records:
            if size >= self._shard_bytes:
                self.next = record
                return
            size += len(record[0])
            yield record


def _unicode(text: str) -> str:
    """Text that UTF-8 can hold: JSON may escape halves of a surrogate pair; pairs are joined, lone halves replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
