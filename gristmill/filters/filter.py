"""Filter: thresholds on the columns that `signals` measured, and nothing else. No text is read or changed here."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.filters.config import FilterConfig
from gristmill.report import Report
from gristmill.shards import map_shards
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    kept,
    read_documents,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
)


def run_filter(documents: Path, out: Path, config: FilterConfig, *, workers: int = 1) -> Report:
    """Write on the documents that pass every threshold, and for each other one the first threshold that it failed.

    Raises ValueError when a signal was not measured, or when no document is left.
    """
    schema = document_schema(documents)
    rules = rules_of(config)
    _require_signals(schema, rules, documents)
    shards = [(path.stem, _Shard(path, out, schema, rules)) for path in shard_paths(documents)]
    summaries = map_shards(_filter_shard, shards, out, workers=workers, label="filter")
    join_verdicts([out / path.name for path in shard_paths(documents)], out, schema=schema)
    dropped, unmeasured = Counter(), Counter()
    for summary in summaries:
        dropped.update(summary["dropped"])
        unmeasured.update(summary["unmeasured"])
    report = Report(
        rows_in=sum(summary["rows_in"] for summary in summaries),
        rows_out=sum(summary["rows_out"] for summary in summaries),
        dropped=_in_order(dropped, rules),
        details={"kept_though_not_measured": _in_order(unmeasured, rules)},
    )
    if report.rows_out == 0:
        raise ValueError(_nothing_left(report, documents, rules))
    return report


@dataclass(frozen=True)
class Rule:
    """One threshold. float32, as the signals are stored: a document that equals the threshold as written is kept."""

    name: str
    threshold: float

    @property
    def signal(self) -> str:
        return self.name.removeprefix("min_").removeprefix("max_")

    def keeps(self, value: float) -> bool:
        measured, threshold = np.float32(value), np.float32(self.threshold)
        return bool(measured >= threshold if self.name.startswith("min_") else measured <= threshold)


def rules_of(config: FilterConfig) -> list[Rule]:
    """The rules that are on, in the order in which they are tried."""
    thresholds = ((name, getattr(config, name)) for name in FilterConfig.model_fields)
    return [Rule(name, threshold) for name, threshold in thresholds if threshold is not None]


def failed_rules(signals: Mapping[str, Any], rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules that a document fails, in their order. A signal that is null fails none."""
    for rule in rules:
        value = signals[rule.signal]
        if value is not None and not rule.keeps(value):
            yield rule


@dataclass(frozen=True)
class _Shard:
    documents: Path
    out: Path
    schema: pa.Schema
    rules: list[Rule]


def _filter_shard(shard: _Shard) -> dict[str, Any]:
    unmeasured: Counter[str] = Counter()
    summary = write_judged(shard.out / shard.documents.name, _judged(shard, unmeasured), schema=shard.schema)
    return summary | {"unmeasured": unmeasured}


def _judged(shard: _Shard, unmeasured: Counter[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each document's verdict, and the document where it is kept."""
    for document in read_shard(shard.documents):
        failed = next(failed_rules(document, shard.rules), None)
        if failed is not None:
            facts = {"value": _shown(document[failed.signal]), "threshold": _shown(failed.threshold)}
            yield verdict(document, stage="filter", rule=failed.name, **facts), None
            continue
        unmeasured.update(rule.name for rule in shard.rules if document[rule.signal] is None)
        yield kept(document, stage="filter"), document


def _shown(value: float) -> str:
    """As many digits as float32 holds, so that a value beside its threshold is not shown as equal to it."""
    return str(value) if isinstance(value, int) else str(np.float32(value))


def _require_signals(schema: pa.Schema, rules: Sequence[Rule], documents: Path) -> None:
    missing = sorted({rule.signal for rule in rules}.difference(schema.names))
    if missing:
        raise ValueError(
            f"the documents in {documents.name} have no column {', '.join(missing[:3])}, which filter.* looks at; "
            "give filter what the signals stage wrote, or set those rules to null"
        )


def _in_order(counts: Counter[str], rules: Sequence[Rule]) -> dict[str, int]:
    return {rule.name: counts[rule.name] for rule in rules if counts[rule.name]}


def _nothing_left(report: Report, documents: Path, rules: Sequence[Rule]) -> str:
    if report.rows_in == 0:
        return "filter: no document came in; the stage before kept none"
    counts = ", ".join(f"{count} by {name}" for name, count in report.dropped.items())
    document, failed = _nearest(documents, rules)
    settings = " and ".join(f"filter.{rule.name}={_shown(document[rule.signal])}" for rule in failed)
    thresholds = ", ".join(f"{_shown(rule.threshold)}" for rule in failed)
    return (
        f"filter: none of {report.rows_in} documents passed (dropped: {counts}); "
        f"the nearest is {document['url']}, which {settings} would keep (now: {thresholds})"
    )


def _nearest(documents: Path, rules: Sequence[Rule]) -> tuple[dict[str, Any], list[Rule]]:
    """The document that fails the fewest rules, of several the one nearest to its thresholds; with those rules."""

    def distance(found: tuple[dict[str, Any], list[Rule]]) -> tuple[int, float]:
        document, failed = found
        gaps = (abs(document[rule.signal] - rule.threshold) / (abs(rule.threshold) or 1.0) for rule in failed)
        return len(failed), math.fsum(gaps)

    columns = ["url", *dict.fromkeys(rule.signal for rule in rules)]
    rows = read_documents(documents, columns=columns)
    return min(((row, list(failed_rules(row, rules))) for row in rows), key=distance)
