"""Filter: which documents are kept, by opt-out lists, by the columns that `signals` measured, by shares of the whole.

The texts of kept documents are read for two things alone: private data gives way to placeholders, and phrases that look
planted are listed in `alarms.jsonl`.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.opt_out import OptOut, OptOutConfig
from gristmill.filters.pii import PiiMasker
from gristmill.filters.pii_config import PiiConfig
from gristmill.filters.poisoning import find_alarms
from gristmill.filters.selection import Selection, select
from gristmill.report import Report
from gristmill.shard_cache import ShardCache, recorded_sha256
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    judged_files,
    kept,
    read_documents,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
)

OPT_OUT = "filter.opt_out"


def run_filter(
    documents: Path, out: Path, config: FilterConfig, *, workers: Workers = 1, cache: ShardCache | None = None
) -> Report:
    """Write on the documents that pass every rule, and for each other one the first rule that it failed.

    Raises ValueError when a signal was not measured, a list has a line that is no entry, or no document is left.
    """
    schema = document_schema(documents)
    rules = RuleBook.of(config, {row["language"] or "und" for row in read_documents(documents, columns=["language"])})
    _require_signals(schema, rules.all(), documents)
    lists = config.opt_out.fetched(setting=OPT_OUT)
    selection = _selection(documents, schema, rules, config, OptOut.read(config.opt_out, setting=OPT_OUT))
    # ranks and shares are of the whole crawl, and with them every shard's result is
    filter_shard = cache.reusing(_filter_shard) if cache and not selection else _filter_shard
    recorded = recorded_sha256(documents) if cache else {}
    shards = [
        (path.stem, _Shard(path, recorded.get(path.name, ""), out, schema, rules, lists, selection, config.pii))
        for path in shard_paths(documents)
    ]
    summaries = map_shards(filter_shard, shards, out, workers=workers, label="filter")
    join_verdicts([out / path.name for path in shard_paths(documents)], out, schema=schema)
    dropped, unmeasured, languages, redacted = Counter(), Counter(), Counter(), Counter()
    for summary in summaries:
        redacted.update(summary["redacted"])
        dropped.update(summary["dropped"])
        unmeasured.update(summary["unmeasured"])
        languages.update(summary["languages"])
    report = Report(
        rows_in=sum(summary["rows_in"] for summary in summaries),
        rows_out=sum(summary["rows_out"] for summary in summaries),
        dropped=_in_order(dropped),
        details={
            "kept_though_not_measured": _in_order(unmeasured),
            "thresholds": rules.describe(languages),
            "by_language_never_used": sorted(set(config.by_language) - set(languages)),
            "redacted": dict(sorted(redacted.items())),
        },
    )
    if report.rows_out == 0:
        raise ValueError(_nothing_left(report, documents, rules))
    alarms = find_alarms(out, config.poisoning, workers=workers)
    return report.model_copy(update={"details": report.details | {"alarms": alarms}})


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


def rules_of(thresholds: Thresholds) -> list[Rule]:
    """The rules that are on, in the order in which they are tried."""
    found = ((name, getattr(thresholds, name)) for name in Thresholds.model_fields)
    return [Rule(name, threshold) for name, threshold in found if threshold is not None]


@dataclass(frozen=True)
class RuleBook:
    """The rules for documents of each language: `flat` where a language has none of its own."""

    flat: list[Rule]
    by_language: dict[str, list[Rule]]

    @classmethod
    def of(cls, config: FilterConfig, languages: Collection[str]) -> Self:
        """The rules for documents in these languages."""
        own = {code: rules_of(config.thresholds_for(code)) for code in config.overrides() if code in languages}
        return cls(rules_of(config), own)

    def for_document(self, document: Mapping[str, Any]) -> list[Rule]:
        return self.by_language.get(document["language"] or "und", self.flat)

    def all(self) -> list[Rule]:
        return [*self.flat, *(rule for rules in self.by_language.values() for rule in rules)]

    def describe(self, languages: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """Language → how many documents came in, and whose thresholds they were held against."""
        flat = "the flat ones" if "en" in self.by_language else "the flat ones: by default FineWeb's for English"
        return {
            code: {"documents": count, "thresholds": f"its own ({code})" if code in self.by_language else flat}
            for code, count in sorted(languages.items())
        }


def failed_rules(signals: Mapping[str, Any], rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules that a document fails, in their order. A signal that is null fails none."""
    for rule in rules:
        value = signals[rule.signal]
        if value is not None and not rule.keeps(value):
            yield rule


@dataclass(frozen=True)
class _Shard:
    documents: Path
    sha256: str  # of the documents, as recorded
    out: Path
    schema: pa.Schema
    rules: RuleBook
    opt_out: OptOutConfig
    selection: Selection | None
    pii: PiiConfig

    @property
    def input(self) -> tuple[Path, str]:
        return self.documents, self.sha256

    @property
    def facts(self) -> dict[str, Any]:
        return {"schema": self.schema.to_string()}

    @property
    def files(self) -> list[Path]:
        return judged_files(self.out / self.documents.name)


def _selection(
    documents: Path, schema: pa.Schema, rules: RuleBook, config: FilterConfig, opt_out: OptOut
) -> Selection | None:
    """What ranks and shares among the documents that pass all rules decide; None where nothing is chosen by them."""
    if not config.top_fraction and not config.topic_shares and config.max_domain_share is None:
        return None
    missing = sorted({*config.top_fraction, *(["topic"] if config.topic_shares else [])}.difference(schema.names))
    if missing:
        raise ValueError(
            f"the documents in {documents.name} have no column {', '.join(missing)}, which filter looks at"
        )
    return select(
        documents,
        lambda row: not opt_out.refuse(row) and next(failed_rules(row, rules.for_document(row)), None) is None,
        columns=sorted({"language", "text_hash", *(rule.signal for rule in rules.all())}),
        top_fraction=dict(config.top_fraction),
        topic_shares=config.topic_shares,
        max_domain_share=config.max_domain_share,
        domain_floor=config.domain_floor,
    )


def _filter_shard(shard: _Shard) -> dict[str, Any]:
    counts = {"unmeasured": Counter(), "languages": Counter(), "redacted": Counter()}
    summary = write_judged(shard.out / shard.documents.name, _judged(shard, **counts), schema=shard.schema)
    return summary | counts


def _judged(
    shard: _Shard, unmeasured: Counter[str], languages: Counter[str], redacted: Counter[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each document's verdict, and the document where it is kept: lists first, then rules, then shares of the whole."""
    opt_out = OptOut.read(shard.opt_out, setting=OPT_OUT)
    masker = PiiMasker(shard.pii)
    for document in read_shard(shard.documents):
        rules = shard.rules.for_document(document)
        languages[document["language"] or "und"] += 1
        refused = (
            opt_out.refuse(document)
            or _refused_by(rules, document)
            or (shard.selection and shard.selection.refuse(document))
        )
        if refused:
            rule, value, threshold = refused
            yield verdict(document, stage="filter", rule=rule, value=value, threshold=threshold), None
            continue
        unmeasured.update(rule.name for rule in rules if document[rule.signal] is None)
        if shard.selection:
            unmeasured.update(shard.selection.unmeasured(document))
        text, found = masker.mask(document["text"], document["language"])
        if found:
            redacted.update(found)
            kinds = sorted(found)
            facts = {"rule": f"pii:{'+'.join(kinds)}", "value": ", ".join(f"{kind} {found[kind]}" for kind in kinds)}
            yield (
                verdict(document, stage="filter", decision="redacted", threshold=None, **facts),
                document | {"text": text},
            )
        else:
            yield kept(document, stage="filter"), document


def _refused_by(rules: Sequence[Rule], document: Mapping[str, Any]) -> tuple[str, str, str] | None:
    failed = next(failed_rules(document, rules), None)
    return failed and (failed.name, _shown(document[failed.signal]), _shown(failed.threshold))


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


def _in_order(counts: Counter[str]) -> dict[str, int]:
    by_rank = sorted(name for name in counts if name not in Thresholds.model_fields)
    return {name: counts[name] for name in [*Thresholds.model_fields, *by_rank] if counts[name]}


def _nothing_left(report: Report, documents: Path, rules: RuleBook) -> str:
    if report.rows_in == 0:
        return "filter: no document came in; the stage before kept none"
    counts = ", ".join(f"{count} by {name}" for name, count in report.dropped.items())
    document, failed = _nearest(documents, rules)
    language = document["language"] or "und"
    place = f"filter.by_language.{language}" if language in rules.by_language else "filter"
    settings = " and ".join(f"{place}.{rule.name}={_shown(document[rule.signal])}" for rule in failed)
    thresholds = ", ".join(f"{_shown(rule.threshold)}" for rule in failed)
    return (
        f"filter: none of {report.rows_in} documents passed (dropped: {counts}); "
        f"the nearest is {document['url']}, which {settings} would keep (now: {thresholds})"
    )


def _nearest(documents: Path, rules: RuleBook) -> tuple[dict[str, Any], list[Rule]]:
    """The document that fails the fewest rules, of several the one nearest to its thresholds; with those rules."""

    def distance(found: tuple[dict[str, Any], list[Rule]]) -> tuple[int, float]:
        document, failed = found
        gaps = (abs(document[rule.signal] - rule.threshold) / (abs(rule.threshold) or 1.0) for rule in failed)
        return len(failed), math.fsum(gaps)

    columns = ["url", "language", *dict.fromkeys(rule.signal for rule in rules.all())]
    rows = read_documents(documents, columns=columns)
    return min(((row, list(failed_rules(row, rules.for_document(row)))) for row in rows), key=distance)
