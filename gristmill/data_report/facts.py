"""The numbers and samples of a data report, read from the verdicts of one run or of one artifact's ancestors.

Queries run in DuckDB over the Parquet files, so that memory holds counts and samples, not tables. The same artifacts
give the same facts: samples are those whose hashed id comes first, whatever the order of shards.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.data_report.histograms import Histogram, lengths_of, signal_histograms
from gristmill.data_report.samples import Sampled, samples_of
from gristmill.scope import VERDICTS, Scope, inputs_of
from gristmill.store import Record

if TYPE_CHECKING:
    import duckdb

ALARMS = "alarms.jsonl"
SHOWN_LANGUAGES = 8
SHOWN_DOMAINS = 20
SHOWN_ALARMS = 20

_HOST = r"regexp_extract(lower(url), '^[a-z][a-z0-9+.-]*://(?:[^/@?#]*@)?(?:www\.)?([^/:?#]+)', 1)"


@dataclass(frozen=True)
class StageFacts:
    """One row of the funnel."""

    stage: str
    artifact: str
    run: str
    rows_in: int
    rows_out: int
    unit: str
    share: float | None
    """Of the pages that entered the first judging stage, how many are left; None where rows are not pages."""


@dataclass(frozen=True)
class Drop:
    """What one rule did."""

    stage: str
    rule: str
    decision: str
    pages: int
    of_stage: float
    """Of the pages that entered the stage."""
    threshold: str | None
    by_language: dict[str, float]
    """Language → share of its pages that entered the stage."""


@dataclass(frozen=True)
class Group:
    """Pages that have something in common: a language, a host, a source with its licence."""

    name: str
    pages: int
    left: int
    chars: int
    """Of the text that is left."""


@dataclass(frozen=True)
class Share:
    """A source's, a language's or a quality bucket's part of the mixture, before the split."""

    name: str
    documents: int
    documents_seen: int
    epochs_mean: float
    epochs_max: int
    tokens: int
    tokens_seen: int
    """Estimated; as often as they are seen."""
    seen: float
    """Share of all tokens seen."""
    asked: float | None
    """The share that its weight asks for."""


@dataclass(frozen=True)
class Facts:
    """Everything a data report says."""

    scope: str
    built: str
    """When the newest of the artifacts was made, ISO 8601."""
    stages: list[StageFacts]
    drops: list[Drop]
    language_codes: list[str]
    """Columns of `Drop.by_language`: the languages with the most pages."""
    languages: list[Group]
    domains: list[Group]
    sources: list[Group]
    pages: int
    left: int
    chars: int
    lengths: Histogram | None
    signals: list[Histogram]
    samples: list[Sampled]
    redacted: dict[str, int]
    alarms: list[dict[str, Any]]
    alarms_total: int
    gone: tuple[str, ...] = ()
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage → what else its report counts."""

    @property
    def mixture(self) -> list[Share]:
        """What sources, languages and buckets contribute, where there is a stage `mix`."""
        found = self.details.get("mix", {})
        return [
            Share(
                f"{one} {'not measured' if row[one] is None else row[one]}",
                *(row["documents"], row["documents_seen"], row["epochs_mean"], row["epochs_max"]),
                *(row["estimated_tokens"], row["estimated_tokens_seen"], row["share_seen"], row.get("share_asked")),
            )
            for one, several in (("source", "sources"), ("language", "languages"), ("bucket", "buckets"))
            for row in found.get(several, [])
        ]


def gather(scope: Scope, *, samples: int = 3, seed: int = 0) -> Facts:
    """Read everything the report says. samples: pages to show for each rule. Raises ValueError without verdicts."""
    import duckdb

    chain = data_chain(scope)
    # nothing is fetched from anywhere: not even an extension of DuckDB
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as db:
        for number, record in enumerate(chain):
            _register(db, f"stage_{number}", scope.file(record, VERDICTS))
        last = f"stage_{len(chain) - 1}"
        pages = _count(db, "select count(*) from stage_0")
        left, chars = _left(db, last)
        codes = _languages(db)
        filtered = next((number for number, record in enumerate(chain) if record.recipe.stage == "filter"), None)
        return Facts(
            scope=scope.name,
            built=max(record.created for record in chain).isoformat(timespec="seconds"),
            stages=_funnel(scope, chain, pages),
            drops=[drop for number in range(len(chain)) for drop in _drops(db, chain[number], number, codes)],
            language_codes=codes,
            languages=_groups(db, last, "coalesce(language, 'none')"),
            domains=_groups(db, last, _HOST, limit=SHOWN_DOMAINS),
            sources=_groups(db, last, "source || ', licence ' || coalesce(license, 'unknown')"),
            pages=pages,
            left=left,
            chars=chars,
            lengths=lengths_of(db, "stage_0", last),
            signals=[] if filtered is None else signal_histograms(db, f"stage_{filtered}", chain[filtered], codes),
            samples=samples_of(db, scope, chain, count=samples, seed=seed),
            redacted=_redacted(db, chain),
            **_alarms(scope),
            gone=scope.gone,
            details={record.label: scope.store.report(record.address).details for record in chain},
        )


def data_chain(scope: Scope) -> list[Record]:
    """The judging stages that led to the last one, from the first: one line, even where a scope has several."""
    judged = {record.address: record for record in scope.judged()}
    chain = [list(judged.values())[-1]]
    while sources := [judged[source] for source in inputs_of(chain[0]) if source in judged]:
        chain.insert(0, sources[0])
    return chain


def _register(db: "duckdb.DuckDBPyConnection", name: str, table: Path) -> None:
    import pyarrow.dataset as ds

    # not by its path in SQL, where a bracket in a folder's name would be a pattern
    db.register(name, ds.dataset(table))


def _count(db: "duckdb.DuckDBPyConnection", query: str) -> int:
    row = db.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def _rows(db: "duckdb.DuckDBPyConnection", query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return db.execute(query, list(parameters)).fetchall()


def _left(db: "duckdb.DuckDBPyConnection", last: str) -> tuple[int, int]:
    ((pages, chars),) = _rows(db, f"select count(*), coalesce(sum(chars), 0) from {last} where decision <> 'dropped'")
    return int(pages), int(chars)


def _languages(db: "duckdb.DuckDBPyConnection") -> list[str]:
    """The languages with the most pages, of those that were identified."""
    query = "select language from stage_0 where language is not null group by 1 order by count(*) desc, 1 limit ?"
    return [language for (language,) in _rows(db, query, [SHOWN_LANGUAGES])]


def _funnel(scope: Scope, chain: list[Record], pages: int) -> list[StageFacts]:
    judging = {record.address for record in chain}
    wanted = [r for r in scope.records if r.address in judging or r.recipe.kind in ("warcs", "tokens")]
    stages = []
    for record in wanted:
        report = scope.store.report(record.address)
        share = report.rows_out / max(pages, 1) if record.address in judging else None
        facts = (record.label, record.address, record.run, report.rows_in, report.rows_out, report.unit)
        stages.append(StageFacts(*facts, share))
    return stages


def _drops(db: "duckdb.DuckDBPyConnection", record: Record, number: int, codes: list[str]) -> Iterator[Drop]:
    """Rules that dropped or changed pages, the most frequent first."""
    if record.recipe.stage == "split":
        return  # its rule is where a page falls, not whether it goes on
    table = f"stage_{number}"
    entered = _count(db, f"select count(*) from {table}")
    by_language = dict(_rows(db, f"select language, count(*) from {table} group by 1"))
    decided: dict[tuple[str, str], dict[str | None, int]] = {}
    thresholds: dict[tuple[str, str], set[str]] = {}
    query = f"""select rule, decision, language, count(*), min(threshold), max(threshold) from {table}
                where rule is not null group by 1, 2, 3"""
    for rule, decision, language, count, *ends in _rows(db, query):
        decided.setdefault((rule, decision), {})[language] = count
        thresholds.setdefault((rule, decision), set()).update(each for each in ends if each is not None)
    for (rule, decision), counts in sorted(decided.items(), key=lambda entry: (-sum(entry[1].values()), entry[0])):
        shares = {code: counts.get(code, 0) / by_language[code] for code in codes if by_language.get(code)}
        several = sorted(thresholds[rule, decision])
        threshold = None if not several else several[0] if len(several) == 1 else f"{several[0]}, …"
        pages = sum(counts.values())
        yield Drop(record.label, rule, decision, pages, pages / max(entered, 1), threshold, shares)


def _groups(db: "duckdb.DuckDBPyConnection", last: str, name: str, *, limit: int = 1000) -> list[Group]:
    """Pages that came in and those that are left, by an expression; the largest groups, the largest first."""
    query = f"""
        with entered as (select {name} as name, count(*) as pages from stage_0 group by 1),
             ended as (select {name} as name, count(*) as pages, sum(chars) as chars
                       from {last} where decision <> 'dropped' group by 1)
        select coalesce(entered.name, ended.name), coalesce(entered.pages, 0), coalesce(ended.pages, 0),
               coalesce(ended.chars, 0)
        from entered full join ended on entered.name = ended.name
        order by 2 desc, 1 limit {limit}"""
    return [Group(str(name), int(pages), int(left), int(chars)) for name, pages, left, chars in _rows(db, query)]


def _redacted(db: "duckdb.DuckDBPyConnection", chain: list[Record]) -> dict[str, int]:
    """Rule → pages whose text was masked."""
    found: dict[str, int] = {}
    for number in range(len(chain)):
        query = f"select rule, count(*) from stage_{number} where decision = 'redacted' group by 1 order by 2 desc, 1"
        found.update(_rows(db, query))
    return found


def _alarms(scope: Scope) -> dict[str, Any]:
    """Suspicious n-grams that a stage found on many pages; the first ones, and how many there are."""
    alarms: list[dict[str, Any]] = []
    for record in scope.records:
        path = scope.file(record, ALARMS)
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            alarms += [{"stage": record.label, **json.loads(line)} for line in lines if line.strip()]
    return {"alarms": alarms[:SHOWN_ALARMS], "alarms_total": len(alarms)}
