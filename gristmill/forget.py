"""Who holds a page: every artifact of a store that was made with pages of a domain, a URL or a text.

Documents are looked up in the artifacts that hold them; what was made from documents (tokens, tokenizers, models)
is known by lineage and by the index of its rows. `gristmill forget` adds the same entries to an opt-out list
(gristmill.filters.opt_out), which keeps them out of what is built next. Left out: deleting, which stays a decision.
"""

import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gristmill.errors import ConfigError
from gristmill.filters.opt_out import OptOut
from gristmill.pages import host_of, on_host
from gristmill.scope import VERDICTS, holds, inputs_of
from gristmill.store import ArtifactStore, Record

Ids = frozenset[str]
NONE: Ids = frozenset()


@dataclass(frozen=True)
class Forgotten:
    """What is to be forgotten, as an opt-out list says it."""

    entries: tuple[str, ...]
    """`domain:example.org`, `url:https://example.org/page` (a `*` after the host stands for anything), `hash:0123…`."""

    @classmethod
    def parse(cls, domains: Iterable[str], urls: Iterable[str], hashes: Iterable[str]) -> "Forgotten":
        """Raises ConfigError for what is no domain, URL or hash, and when nothing is named."""
        named = [("domain", domains), ("url", urls), ("hash", hashes)]
        lines = [(f"--{kind}", f"{kind}:{value.strip()}") for kind, values in named for value in values]
        if not lines:
            raise ConfigError("nothing to forget: give --domain, --url or --hash")
        try:
            OptOut.parse(lines)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if commented := next((entry for _, entry in lines if " #" in entry), None):
            raise ConfigError(f"{commented!r}: what follows ` #` is a comment in an opt-out list; leave it out")
        return cls(tuple(dict.fromkeys(entry for _, entry in lines)))

    @cached_property
    def opt_out(self) -> OptOut:
        return OptOut.parse((entry, entry) for entry in self.entries)

    def condition(self, *, by_hash: bool = True) -> pc.Expression:
        """What every row that matches fulfils, and few others: a condition to scan by. by_hash: rows have a hash."""
        hosts = {*self.opt_out.domains, *self.opt_out.patterns, *map(host_of, self.opt_out.urls)}
        by_text = [_is_one_of("text_hash", self.opt_out.hashes)] if by_hash else []
        return reduce(operator.or_, [*map(on_host, sorted(hosts)), *by_text], pc.scalar(False))

    def matches(self, row: dict[str, Any]) -> bool:
        """What the filter's own opt-out would say of a page: what is listed is what would be left out."""
        return self.opt_out.refuse(row) is not None


@dataclass(frozen=True)
class Holding:
    """An artifact and how many of the forgotten pages are in it, by part: train, validation, …"""

    artifact: str
    label: str
    kind: str
    run: str
    pages: dict[str, int]
    """Part → pages. `` for an artifact without parts."""

    @property
    def total(self) -> int:
        return sum(self.pages.values())


@dataclass(frozen=True)
class Holdings:
    """All artifacts that hold forgotten pages, each after those it was made from."""

    pages: int
    """Different captures found in the whole store."""
    found: list[Holding]
    unknown: dict[str, str] = field(default_factory=dict)
    """Artifact → why it could not be looked into."""
    copies: int = 0
    """Other pages with a text of the same words: forgetting a domain or a URL does not reach them, a hash does."""


def holdings(store: ArtifactStore, forgotten: Forgotten) -> Holdings:
    """Look through every artifact of the store."""
    return _Search(store, forgotten).run()


class _Search:
    """One pass over the records, inputs first; `parts` keeps the ids found in each artifact, by part."""

    def __init__(self, store: ArtifactStore, forgotten: Forgotten) -> None:
        self.store, self.forgotten = store, forgotten
        self.parts: dict[str, dict[str, Ids]] = {}
        self.ids: set[str] = set()
        self.hashes: set[str] = set()
        self.unknown: dict[str, str] = {}

    def run(self) -> Holdings:
        records = _inputs_first(self.store.records())
        by_address = {record.address: record for record in records}
        for record in records:
            self._look_into(record, by_address)
        for record in records:  # a file of ingest shows its pages only in what extract made of it
            if record.recipe.kind == "warcs" and record.address not in self.parts:
                self.unknown[record.address] = "its pages were never extracted, or what was extracted is gone"
        found = [
            Holding(record.address, record.label, record.recipe.kind, record.run, _counts(self.parts[record.address]))
            for record in records
            if any(self.parts.get(record.address, {}).values())
        ]
        return Holdings(len(self.ids), found, self.unknown, self._copies(records))

    def _look_into(self, record: Record, by_address: dict[str, Record]) -> None:
        parts: dict[str, Ids] = {}
        match record.recipe.kind:
            case "documents":
                parts = {"": self._in_documents(record, "")}
                if record.recipe.stage == "extract" and holds(record, VERDICTS):
                    self._note_warcs(record)
            case "splits":
                folders = sorted({entry.path.partition("/")[0] for entry in record.files if "/" in entry.path})
                parts = {folder: self._in_documents(record, folder) for folder in folders}
            case "tokens":
                parts = self._in_rows(record, by_address)
            case "warcs":
                return
            case _:
                parts = {"": self._inherited(record, by_address)}
        self.parts[record.address] = parts

    def _in_documents(self, record: Record, folder: str) -> Ids:
        prefix = f"{folder}/part-" if folder else "part-"
        shards = [entry.path for entry in record.files if entry.path.startswith(prefix)]
        if not shards:
            return NONE
        place = self.store.path(record.address)
        return self._matching([place / shard for shard in shards])

    def _note_warcs(self, record: Record) -> None:
        """Pages that ingest brought, those that extract dropped included."""
        found = self._matching([self.store.file(record.address, VERDICTS)])
        for source in inputs_of(record):
            self.parts[source] = {"": self.parts.get(source, {}).get("", NONE) | found}

    def _matching(self, files: list[Path]) -> Ids:
        """Ids of the rows that match, or that matched in an artifact before: a masked text stays the same page."""
        if not files:
            return NONE
        dataset = ds.dataset(files)
        columns = [name for name in ("doc_id", "url", "text_hash") if name in dataset.schema.names]
        condition = self.forgotten.condition(by_hash="text_hash" in columns)
        known = _is_one_of("doc_id", self.ids)
        rows = dataset.to_table(columns=columns, filter=condition | known).to_pylist()
        found = {row["doc_id"]: row for row in rows if row["doc_id"] in self.ids or self._is_match(row)}
        self.ids.update(found)
        self.hashes.update(hash for row in found.values() if (hash := row.get("text_hash")))
        return frozenset(found)

    def _is_match(self, row: dict[str, Any]) -> bool:
        return self.forgotten.matches({"text_hash": None, **row})

    def _in_rows(self, record: Record, by_address: dict[str, Record]) -> dict[str, Ids]:
        self._require_inputs(record, by_address)
        path = self.store.file(record.address, "index.parquet")
        rows = pq.read_table(path, columns=["split", "doc_id"], filters=_is_one_of("doc_id", self.ids))
        parts: dict[str, set[str]] = {}
        for row in rows.to_pylist():
            parts.setdefault(row["split"], set()).add(row["doc_id"])
        return {split: frozenset(ids) for split, ids in sorted(parts.items())}

    def _inherited(self, record: Record, by_address: dict[str, Record]) -> Ids:
        """What the inputs held. Of rows and splits the training part alone, unless the artifact measures something."""
        self._require_inputs(record, by_address)
        ids: set[str] = set()
        for source in inputs_of(record):
            for part, found in self.parts.get(source, {}).items():
                if part in ("", "train") or (part == "validation" and record.recipe.kind == "evaluation"):
                    ids |= found
        return frozenset(ids)

    def _require_inputs(self, record: Record, by_address: dict[str, Record]) -> None:
        gone = [source for source in inputs_of(record) if source not in by_address or source in self.unknown]
        if gone:
            self.unknown[record.address] = f"made from {', '.join(gone)}, which cannot be looked into (any more)"

    def _copies(self, records: list[Record]) -> int:
        """Pages with the same words as a forgotten one that the entries do not name."""
        copies: set[str] = set()
        for record in records:
            if record.recipe.stage != "extract" or not self.hashes:
                continue
            shards = [entry.path for entry in record.files if entry.path.startswith("part-")]
            folder = self.store.path(record.address)
            dataset = ds.dataset([folder / shard for shard in shards])
            if "text_hash" in dataset.schema.names:
                rows = dataset.to_table(columns=["doc_id"], filter=_is_one_of("text_hash", self.hashes))
                copies.update(rows.column("doc_id").to_pylist())
        return len(copies - self.ids)


def _is_one_of(column: str, values: Iterable[str]) -> pc.Expression:
    return pc.field(column).isin(pa.array(sorted(values), pa.string()))


def _counts(parts: dict[str, Ids]) -> dict[str, int]:
    return {part: len(ids) for part, ids in parts.items() if ids}


def _inputs_first(records: list[Record]) -> list[Record]:
    by_address = {record.address: record for record in records}
    ordered: dict[str, Record] = {}

    def visit(record: Record) -> None:
        if record.address in ordered:
            return
        for source in inputs_of(record):
            if source in by_address:
                visit(by_address[source])
        ordered[record.address] = record

    for record in records:
        visit(record)
    return list(ordered.values())


def add_to_list(path: Path, entries: Iterable[str], *, note: str) -> list[str]:
    """Append the entries that an opt-out list does not have yet, each with a note as its comment; returns those.

    What is in the file stays as it is. One write, so that two commands at a time do not mix their lines. Raises
    ValueError, and writes nothing, when a line of the file is no entry.
    """
    known = path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else []
    lines = [(f"{path}:{number}", line) for number, line in enumerate(known, start=1)]
    before = OptOut.parse(lines)
    added = [entry for entry in entries if not before.includes(OptOut.parse([(entry, entry)]))]
    if not added:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    note = " ".join(note.split())
    content = "".join(f"{entry}  # {note}\n" for entry in added)
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        content = "\n" + content
    with path.open("a", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return added
