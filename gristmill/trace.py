"""What became of one page: from its place in a WARC file, through every stage's verdict, to rows of tokens and to the
training steps that read them.

Everything is read from artifacts: verdicts, the index of the packed rows, records. Which rows a step of pretraining
read is computed, since it is a pure function of the data's digest, the seed and the step.
Left out: instruction rows and preference pairs, which are made from docstrings and not from pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.filters.thresholds import Threshold, thresholds_for
from gristmill.pages import duplicates_of, find_pages, nearest_urls, printable, rows_of
from gristmill.scope import VERDICTS, Scope, descendants, inputs_of
from gristmill.store import Record
from gristmill.tokens.reader import TokenShards, row_order

INDEX = "index.parquet"
SHOWN_DUPLICATES = 20

# columns that every page has; the others of a row are what stages measured
FACTS = ("doc_id", "url", "date", "source", "license", "warc_file", "warc_offset")


class PageNotFound(ValueError):
    """No artifact looked at knows the page."""


@dataclass(frozen=True)
class Event:
    """What one stage did with the page, and on which ground."""

    stage: str
    artifact: str
    decision: str
    rule: str | None = None
    value: str | None = None
    threshold: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    """Further facts: language, signals, the split, pages that were dropped in favour of this one."""
    margins: list[Threshold] = field(default_factory=list)
    """Of a filter: every threshold that looked at the page, the nearest first."""


@dataclass(frozen=True)
class Span:
    """Tokens of the page in one row of a shard."""

    artifact: str
    split: str
    file: str
    """Relative to the artifact."""
    row_in_file: int
    row: int
    """Of the split, counted over all its files."""
    start: int
    """Position in the row; a document start (BOS) stands there."""
    tokens: int
    continuation: bool
    """Goes on where the span before ends. Else the page begins here: one of several epochs does so several times."""


@dataclass(frozen=True)
class Built:
    """Something that was made from the rows or the text of the page."""

    artifact: str
    label: str
    run: str
    steps: list[int] | None = None
    """Of pretraining: the steps that read a row of this page, from 0; empty when the budget ended before. None for
    what was built from such a model or does not train by rows."""


@dataclass(frozen=True)
class Story:
    """One capture of a page and everything that happened to it."""

    page: dict[str, Any]
    events: list[Event]
    spans: list[Span]
    built: list[Built]

    @property
    def end(self) -> str:
        """One sentence: where the page is now, or what stopped it."""
        last = self.events[-1]
        if last.decision == "dropped":
            return f"dropped by {last.stage}: {last.rule}, measured {last.value}, kept: {last.threshold}"
        if self.spans:
            rows = len({(span.split, span.row) for span in self.spans})
            tokens = sum(span.tokens for span in self.spans)
            split = self.spans[0].split
            copies = sum(not span.continuation for span in self.spans)
            times = f", where it stands {copies} times" if copies > 1 else ""
            use = "" if split == "train" else ": models are measured on it, none is trained on it"
            return f"{tokens} tokens in {rows} row{'s'[: rows != 1]} of {split}{times}{use}"
        if last.measured.get("split") == "held_out":
            return "held out of training and validation"
        return f"kept by {last.stage}; no later stage of this run has it"


def trace(scope: Scope, query: str) -> list[Story]:
    """The story of every capture that a URL, a document id or a text hash names.

    Raises PageNotFound, with URLs that are near, and ValueError when the scope holds no verdicts.
    """
    judged = scope.judged()
    entries = [record for record in judged if not _takes_documents(record, judged)]
    pages = [row for record in entries for row in find_pages(scope.file(record, VERDICTS), query)]
    if not pages:
        raise PageNotFound(_not_found(scope, entries, query))
    captures = {page["doc_id"]: page for page in pages}
    events: dict[str, list[Event]] = {doc_id: [] for doc_id in captures}
    for doc_id, page in captures.items():
        events[doc_id].extend(_ingested(scope, page))
    for record in judged:
        for row in rows_of(scope.file(record, VERDICTS), list(captures)):
            events[row["doc_id"]].append(_event(scope, record, row))
    spans = _spans(scope, list(captures))
    everything = scope.store.records() if any(spans.values()) else []
    return [
        Story(
            page={name: page[name] for name in FACTS},
            events=events[doc_id],
            spans=spans[doc_id],
            built=_built(scope, everything, spans[doc_id]),
        )
        for doc_id, page in captures.items()
    ]


def _takes_documents(record: Record, judged: list[Record]) -> bool:
    """Whether another judging stage stood before this one."""
    return not {each.address for each in judged}.isdisjoint(inputs_of(record))


def _ingested(scope: Scope, page: dict[str, Any]) -> Iterator[Event]:
    for record in scope.of_kind("warcs"):
        if any(entry.path == page["warc_file"] for entry in record.files):
            place = f"{page['warc_file']} at byte {page['warc_offset']:,}"
            yield Event("ingest", record.address, "read", measured={"place": place})


def _event(scope: Scope, record: Record, row: dict[str, Any]) -> Event:
    stage = record.recipe.stage
    decided = {name: row[name] for name in ("rule", "value", "threshold")}
    measured: dict[str, Any] = {}
    margins: list[Threshold] = []
    if stage == "extract":
        measured = {name: row.get(name) for name in ("language", "language_score", "language_status", "chars")}
    elif stage == "signals":
        measured = {name: value for name, value in row.items() if name in _signals(scope, record)}
    elif stage == "filter":
        margins = thresholds_for(row, record.recipe.config.get("filter", {}))
    elif stage == "dedup":
        measured = _company(scope, record, row)
    elif stage == "mix":
        measured = {name: row.get(name) for name in ("epochs", "bucket")}
    elif stage == "split":
        measured = {"split": row["value"]}
        decided = dict.fromkeys(decided)
    return Event(stage, record.address, row["decision"], **decided, measured=measured, margins=margins)


def _signals(scope: Scope, record: Record) -> set[str]:
    """Columns that this stage added to the documents it was given."""
    mine = pq.read_schema(scope.file(record, VERDICTS)).names
    given: set[str] = set()
    for source in inputs_of(record):
        table = scope.store.file(source, VERDICTS)
        given.update(pq.read_schema(table).names if table.exists() else ())
    return set(mine) - given


def _company(scope: Scope, record: Record, row: dict[str, Any]) -> dict[str, Any]:
    """The page kept instead of this one, or the pages this one stands for."""
    table = scope.file(record, VERDICTS)
    if row["rule"] == "repeated_lines":
        return {}
    if row["decision"] == "dropped":
        keeper = row["value"].rpartition(" ")[2]
        found = rows_of(table, [keeper])
        return {"kept_instead": {"doc_id": keeper, "url": found[0]["url"] if found else None}}
    others = duplicates_of(table, row["doc_id"])
    shown = [{"doc_id": other["doc_id"], "url": other["url"], "rule": other["rule"]} for other in others]
    return {"cluster_size": row.get("cluster_size"), "dropped_for_this": shown[:SHOWN_DUPLICATES]}


def _spans(scope: Scope, doc_ids: list[str]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {doc_id: [] for doc_id in doc_ids}
    for record in scope.of_kind("tokens"):
        folder = scope.path(record)
        shards = TokenShards(folder)
        pieces = pq.read_table(folder / INDEX, filters=pc.field("doc_id").isin(doc_ids))
        for piece in pieces.to_pylist():
            file, row_in_file = shards.place(piece["split"], piece["row"])
            span = Span(
                *(record.address, piece["split"], file, row_in_file),
                *(piece["row"], piece["start"], piece["length"], piece["continuation"]),
            )
            found[piece["doc_id"]].append(span)
    return found


def _built(scope: Scope, records: list[Record], spans: list[Span]) -> list[Built]:
    """Models pretrained on the page's tokens, and what was made from those that read it; oldest first."""
    built: list[Built] = []
    for tokens in dict.fromkeys(span.artifact for span in spans if span.split == "train"):
        rows = [span.row for span in spans if span.artifact == tokens and span.split == "train"]
        trained = [r for r in records if r.recipe.stage == "pretrain" and tokens in inputs_of(r)]
        steps = {record.address: steps_that_read(scope, record, tokens, rows) for record in trained}
        built += [Built(record.address, record.label, record.run, steps[record.address]) for record in trained]
        for record in descendants(records, [address for address, read in steps.items() if read]):
            if record.recipe.kind in ("checkpoint", "registration") and record.address not in steps:
                built.append(Built(record.address, record.label, record.run))
    return built


def steps_that_read(scope: Scope, pretraining: Record, tokens: str, rows: list[int]) -> list[int]:
    """The steps of a finished pretraining that learned from one of these training rows of `tokens`, ascending from 0.

    Steps that its guards left out, or undid, are not among them.
    """
    report = scope.store.report(pretraining.address)
    done, begins = int(report.metrics["steps"]), report.details.get("anneal_begins")
    last_of_first = done if begins is None else min(done, begins)
    phases = {"tokens": range(last_of_first), "anneal": range(last_of_first, done)}
    steps: set[int] = set()
    for name, phase in phases.items():
        if pretraining.recipe.inputs.get(name) == tokens:
            read = _steps_of_phase(scope, pretraining, tokens, rows, steps=len(phase))
            steps.update(phase.start + step for step in read)
    undone = {step["step"] for step in report.details.get("skipped", ())}
    for first, last in report.details.get("left_out", ()):
        undone.update(range(first, last + 1))
    return sorted(steps - undone)


def _steps_of_phase(scope: Scope, pretraining: Record, tokens: str, rows: list[int], *, steps: int) -> set[int]:
    """Which of the first `steps` steps on these shards read one of the rows."""
    shards = TokenShards(scope.store.path(tokens))
    # the recipe says null where a setting was derived; the report says what it was
    config = scope.store.report(pretraining.address).details.get("resolved", pretraining.recipe.config["pretrain"])
    per_epoch, batch_rows = shards.rows("train"), config["batch_rows"]
    positions = steps * batch_rows
    found: set[int] = set()
    for epoch in range(-(-positions // per_epoch)):
        order = row_order(shards.meta["digest"], config["seed"], epoch, per_epoch)
        for place in np.flatnonzero(np.isin(order, rows)):
            position = epoch * per_epoch + int(place)
            if position < positions:
                found.add(position // batch_rows)
    return found


def _not_found(scope: Scope, entries: list[Record], query: str) -> str:
    tables = [scope.file(record, VERDICTS) for record in entries]
    pages = sum(pq.read_metadata(table).num_rows for table in tables)
    near = list(dict.fromkeys(printable(url) for table in tables for url in nearest_urls(table, query)))
    hint = f"; did you mean {' or '.join(near[:5])}?" if near else "; `gristmill artifacts list` shows other artifacts"
    return f"{query} is none of the {pages:,} pages that entered {scope.name}{hint}"
