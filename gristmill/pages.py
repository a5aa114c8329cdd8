"""Finding pages in `verdicts.parquet`: by document id, by hash of the text, by URL whatever its spelling.

Tables are streamed; only rows that match are kept in memory.
"""

import difflib
import operator
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import Any

import idna
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gristmill.crawl.urls import canonical_url

_ID = re.compile(r"[0-9a-f]{16}")
_MAX_NEIGHBOURS = 20_000


def is_id(query: str) -> bool:
    """Whether this is written like a document id, or like the hash of a text; both are 16 hex digits."""
    return _ID.fullmatch(query) is not None


def find_pages(table: Path, query: str) -> list[dict[str, Any]]:
    """All rows of a table of verdicts that a document id, a text hash or a URL names, in the table's order."""
    if is_id(query):
        return rows_of(table, [query]) or _rows(table, pc.field("text_hash") == query)
    wanted = canonical_url(with_scheme(query))
    rows = _rows(table, on_host(host_of(query)) | (pc.field("url") == query))
    return [row for row in rows if row["url"] == query or canonical_url(row["url"]) == wanted]


def rows_of(table: Path, doc_ids: list[str]) -> list[dict[str, Any]]:
    """All columns of these documents' rows."""
    return _rows(table, pc.field("doc_id").isin(doc_ids))


def duplicates_of(table: Path, doc_id: str) -> list[dict[str, Any]]:
    """The rows that were dropped because this document is kept: those whose measured value ends with its id."""
    condition = pc.ends_with(pc.field("value"), doc_id)  # pyright: ignore[reportAttributeAccessIssue]
    return [row for row in _rows(table, condition) if row["decision"] == "dropped"]


def nearest_urls(table: Path, query: str, *, count: int = 5) -> list[str]:
    """URLs to suggest for one that is not there: on the same host those with the longest common beginning, else some
    of hosts with similar names. Of a host with very many pages the first are looked at."""
    if is_id(query):
        return []
    wanted = canonical_url(with_scheme(query))
    urls = {row["url"] for row in _rows(table, on_host(host_of(query)), columns=["url"], limit=_MAX_NEIGHBOURS)}

    def closeness(url: str) -> tuple[int, float, str]:
        spelled = canonical_url(url)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(spelled, wanted, strict=False)))
        return -common, -difflib.SequenceMatcher(None, spelled, wanted).ratio(), url

    same_host = [url for url in urls if host_of(url) == host_of(query)]
    if same_host:
        return sorted(same_host, key=closeness)[:count]
    hosts = _hosts_like(table, host_of(query))
    return [hosts[host] for host in difflib.get_close_matches(host_of(query), hosts, n=count)]


def host_of(url: str) -> str:
    """The host of a URL, lower-cased, without `www.` and port."""
    return canonical_url(with_scheme(url)).partition("/")[0].partition("?")[0].partition(":")[0]


def printable(text: object) -> str:
    """Text of a crawl without characters that steer a terminal or turn the direction of what follows."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))


def with_scheme(url: str) -> str:
    return url if "://" in url else f"https://{url}"


def on_host(host: str) -> pc.Expression:
    """Rows whose URL has these letters in it, which every URL of the host and its subdomains has: a condition to scan
    by, before URLs are compared. A host with letters beyond ASCII has a second spelling (punycode)."""
    spellings = {host}
    for respelled in (lambda: idna.encode(host, uts46=True).decode(), lambda: idna.decode(host)):
        with suppress(UnicodeError):
            spellings.add(respelled())
    contains = pc.match_substring  # pyright: ignore[reportAttributeAccessIssue]
    conditions = [contains(pc.field("url"), spelling, ignore_case=True) for spelling in sorted(spellings)]
    return reduce(operator.or_, conditions)


def _rows(
    table: Path, condition: pc.Expression, *, columns: list[str] | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    scanner = ds.dataset(table).scanner(filter=condition, columns=columns, batch_size=4096)
    found: pa.Table = scanner.head(limit) if limit else scanner.to_table()
    return found.to_pylist()


def _hosts_like(table: Path, wanted: str) -> dict[str, str]:
    """Hosts of a table that begin or end as this one and are about as long, each with one URL of it.

    To compare a misspelled host with each of three million would take a minute.
    """
    hosts: dict[str, str] = {}
    for url in _urls(table):
        host = url.partition("://")[2].partition("/")[0].lower().removeprefix("www.")
        is_like = host[:3] == wanted[:3] or host[-7:] == wanted[-7:]
        if is_like and abs(len(host) - len(wanted)) <= 3 and len(hosts) < _MAX_NEIGHBOURS:
            hosts.setdefault(host, url)
    return hosts


def _urls(table: Path) -> Iterator[str]:
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(batch_size=4096, columns=["url"]):
            yield from (url for url in batch.column("url").to_pylist() if url)
