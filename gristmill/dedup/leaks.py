"""What leaked from where: `leaks.parquet`, a row for each item on each page, and the report's summary of it.

The table holds no text. `evaluate` can join it by benchmark and item to score with and without what was found.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.dedup.finder import Finder, Found
from gristmill.filters.domains import RegisteredDomains
from gristmill.text.documents import read_shard

LEAK_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("item_id", pa.string()),
        ("row", pa.int64()),  # of the item in its file, from 1
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("decision", pa.string()),  # about the page: "trimmed" or "dropped"
        ("rule", pa.string()),  # "run", "overlap", "whole" or "summary"
        ("words", pa.int64()),  # of the longest run
        ("overlap", pa.float64()),  # weighted share of the item's n-grams; null for a summary
        ("threshold", pa.string()),
    ]
)
_SHOWN = 5


def leak_rows(document: Mapping[str, Any], found: Iterable[Found], finder: Finder, decision: str) -> Iterator[dict]:
    """A row for each item found on a page: of its passages the one with the largest overlap."""
    best: dict[int, Found] = {}
    for one in found:
        if one.match.item not in best or _strength(one) > _strength(best[one.match.item]):
            best[one.match.item] = one
    for item, one in sorted(best.items()):
        page = {name: document[name] for name in ("doc_id", "url", "source")}
        match = {name: getattr(one.match, name) for name in ("rule", "words", "overlap", "threshold")}
        of_item = {name: finder.name(item)[name] for name in ("benchmark", "item_id", "row")}
        yield of_item | page | {"decision": decision} | match


def _strength(found: Found) -> tuple[float, int]:
    return found.match.overlap or 0, found.match.words


def describe_leaks(leaks: Path, coverage: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, Any]]:
    """By benchmark: its items (as in `coverage`), how many were found, on which pages, and where those are from."""
    described: dict[str, dict[str, Any]] = {}
    found: dict[str, set[str]] = {name: set() for name in coverage}
    pages: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in coverage}
    examples: dict[str, list[dict[str, Any]]] = {name: [] for name in coverage}
    for row in read_shard(leaks):
        name = row["benchmark"]
        if row["item_id"] not in found[name] and len(found[name]) < _SHOWN:
            examples[name].append({key: row[key] for key in ("item_id", "url", "decision", "words", "overlap")})
        found[name].add(row["item_id"])
        pages[name][row["doc_id"]] = {key: row[key] for key in ("url", "source", "decision")}
    domains = RegisteredDomains()
    for name, counts in coverage.items():
        touched = pages[name].values()
        described[name] = {
            **counts,
            "found": len(found[name]),
            "pages": len(touched),
            "trimmed": sum(page["decision"] == "trimmed" for page in touched),
            "dropped": sum(page["decision"] == "dropped" for page in touched),
            "sources": _top(page["source"] for page in touched),
            "domains": _top(domains.of(page["url"]) for page in touched),
            "examples": examples[name],
        }
    return described


def _top(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN])
