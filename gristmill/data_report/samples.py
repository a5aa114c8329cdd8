"""Pages to look at: a few that each rule dropped or changed, and a few that are left at the end.

A page that a stage dropped is shown as it came in, one that was changed as it went on. Private data is masked in all of
them, whatever the run's configuration says. A page whose owner opted out is named, but its text is not shown; of one
that extract dropped there is no text.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gristmill.filters.pii import PiiMasker
from gristmill.filters.pii_config import PiiConfig
from gristmill.scope import Scope, inputs_of
from gristmill.store import Record

if TYPE_CHECKING:
    import duckdb

SHOWN_CHARS = 700
OPT_OUT = "opt_out"  # how the rules of those who asked to be left out begin


@dataclass(frozen=True)
class Sample:
    """One page. `text` is its beginning; None where there is none to show."""

    doc_id: str
    url: str
    language: str | None
    value: str | None
    threshold: str | None
    text: str | None
    chars: int | None
    cut: bool = False
    """The text goes on after what is shown."""


@dataclass(frozen=True)
class Sampled:
    """Pages that one rule decided about; an empty rule for those that are left."""

    stage: str
    rule: str
    decision: str
    pages: list[Sample]


def samples_of(
    db: "duckdb.DuckDBPyConnection", scope: Scope, chain: list[Record], *, count: int, seed: int
) -> list[Sampled]:
    """Up to `count` pages for every rule of every stage, and as many of those that are left at the end."""
    found: list[Sampled] = []
    for number, record in enumerate(chain):
        rows = _chosen(db, f"stage_{number}", count, seed, "rule is not null") if record.recipe.stage != "split" else []
        found += _with_text(scope, record, rows)
    end = _chosen(db, f"stage_{len(chain) - 1}", count * 2, seed, "decision <> 'dropped'", by="'', ''")
    source = next((r for r in reversed(chain) if r.recipe.kind == "documents"), None)
    kept = [row | {"rule": "", "decision": "kept"} for row in end]
    return _with_text(scope, source, kept, end=True) + found if source else found


def _chosen(
    db: "duckdb.DuckDBPyConnection", table: str, count: int, seed: int, condition: str, by: str = "rule, decision"
) -> list[dict[str, Any]]:
    query = f"""
        select doc_id, url, language, rule, decision, value, threshold, chars from (
            select *, row_number() over (partition by {by} order by md5(doc_id || ?), doc_id) as place
            from {table} where {condition})
        where place <= ? order by rule, decision, place"""
    cursor = db.execute(query, [f":{seed}", count])
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _with_text(scope: Scope, record: Record, rows: list[dict[str, Any]], *, end: bool = False) -> list[Sampled]:
    before = [scope.store.find(source) for source in inputs_of(record)]
    earlier = next((each for each in before if each and each.recipe.kind == "documents"), None)
    went_on = {row["doc_id"] for row in rows if end or row["decision"] not in ("dropped", "kept")}
    came_in = {row["doc_id"] for row in rows if row["decision"] == "dropped" and not row["rule"].startswith(OPT_OUT)}
    texts = _texts(scope, record, went_on) | (_texts(scope, earlier, came_in) if earlier else {})
    masker = PiiMasker(PiiConfig())
    groups: dict[tuple[str, str], list[Sample]] = {}
    for row in rows:
        facts = {name: row[name] for name in ("doc_id", "url", "language", "value", "threshold")}
        text, shown, length = texts.get(row["doc_id"]), None, row["chars"]
        if text is not None:
            # masked before it is cut: half an address is an address
            shown, length = masker.mask(text[: 2 * SHOWN_CHARS], row["language"])[0][:SHOWN_CHARS], len(text)
        sample = Sample(**facts, text=shown, chars=length, cut=bool(text) and length > SHOWN_CHARS)
        groups.setdefault((row["rule"], row["decision"]), []).append(sample)
    stage = "" if end else record.label
    return [Sampled(stage, rule, decision, pages) for (rule, decision), pages in groups.items()]


def _texts(scope: Scope, record: Record, doc_ids: set[str]) -> dict[str, str]:
    shards = [entry.path for entry in record.files if entry.path.startswith("part-")]
    if not doc_ids or not shards:
        return {}
    folder = scope.path(record)
    dataset = ds.dataset([folder / shard for shard in shards])
    wanted = pc.field("doc_id").isin(pa.array(sorted(doc_ids), pa.string()))
    rows = dataset.to_table(columns=["doc_id", "text"], filter=wanted).to_pylist()
    return {row["doc_id"]: row["text"] for row in rows}
