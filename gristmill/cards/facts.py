"""What the cards of a model say, from the records of everything behind it.

Model cards: Mitchell et al. 2019 (arXiv:1810.03993). Data cards: Gebru et al. 2018 (arXiv:1803.09010). What nobody
recorded is said to be not recorded. Left out: whether the model became champion, which the registry knows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gristmill.cards.rows import Learned, Rows, rows_learned, rows_made
from gristmill.ledger.config import PricesConfig
from gristmill.model.origin import Origin, data_licenses, read_origin
from gristmill.report import Report
from gristmill.run_report.cost import StageCost, stage_costs
from gristmill.run_report.scores import ScoreRow, Scores, side_by_side
from gristmill.scope import VERDICTS, Scope, holds, inputs_of, scope_of_artifact
from gristmill.store import ArtifactStore, Record

SHOWN_GROUPS = 40


@dataclass(frozen=True)
class Source:
    """Pages of one source under one licence that went on to training; `licence` as the pages state it."""

    name: str
    licence: str
    pages: int
    chars: int


@dataclass(frozen=True)
class Stage:
    """One stage behind the model, for the funnel."""

    label: str
    address: str
    rows_in: int
    rows_out: int
    unit: str
    dropped: dict[str, int]


@dataclass(frozen=True)
class Decontamination:
    """Of one benchmark, as the stage `decontaminate` found it. Every night looks for the same items in its own pages,
    so an item that was found on two nights counts twice in `found`."""

    benchmark: str
    items: int
    not_covered: int
    found: int
    pages_trimmed: int
    pages_dropped: int


@dataclass(frozen=True)
class CardFacts:
    """Everything that the cards and the tags say."""

    name: str
    """Of the registered model."""
    checkpoint: str
    evaluation: str
    parents: list[str]
    lineage: list[str]
    config_hash: str
    """Of all settings of all stages behind the model."""
    git_commits: list[str]
    origin: Origin | None
    declared: dict[str, str]
    """Stage of fine-tuning or alignment → the licence that was declared for its rows."""
    shape: dict[str, Any]
    parameters: int | None
    trained: list[tuple[str, str]]
    """Training stage → what it learned from."""
    scores: Scores
    benchmarks: list[dict[str, Any]]
    decontamination: list[Decontamination]
    sources: list[Source]
    languages: list[tuple[str, int]]
    """Language → pages."""
    rows: list[Rows]
    learned: list[Learned]
    stages: list[Stage]
    masked: dict[str, int]
    alarms: int
    costs: list[StageCost]
    currency: str
    gone: list[str]

    @property
    def declared_besides(self) -> dict[str, str]:
        """What is declared of rows that none of `learned` names: another model wrote them, or an ancestor read them."""
        named = {each.stage for each in self.learned if each.licence}
        return {stage: licence for stage, licence in self.declared.items() if stage not in named}

    @property
    def safety(self) -> list[ScoreRow]:
        return [row for row in self.scores.rows if row.is_safety]

    @property
    def seconds(self) -> float:
        return sum(cost.seconds for cost in self.costs)

    @property
    def kilojoules(self) -> float | None:
        found = [cost.energy_j for cost in self.costs if cost.energy_j is not None]
        return sum(found) / 1000 if found else None

    @property
    def money(self) -> float | None:
        found = [cost.money for cost in self.costs if cost.money is not None]
        return sum(found) if found else None

    @property
    def licences(self) -> dict[str, list[str]]:
        """Source of pages or rows → the licences that they state."""
        found = {rows.label: [rows.licence] for rows in self.rows}
        found |= {f"rows of {stage}": [licence] for stage, licence in self.declared.items()}
        for source in self.sources:
            found.setdefault(source.name, []).append(source.licence)
        return found

    @property
    def decontamination_status(self) -> str:
        """In a sentence."""
        if not self.decontamination:
            return "no stage decontaminate is behind this model"
        return "; ".join(
            f"{each.benchmark}: {each.items:,} items looked for, {each.not_covered:,} not covered, "
            f"{each.found:,} found and cut"
            for each in self.decontamination
        )


def gather(store: ArtifactStore, checkpoint: str, evaluation: str, *, name: str, prices: PricesConfig) -> CardFacts:
    """Raises FileNotFoundError or BrokenArtifact where the checkpoint or its evaluation is not whole."""
    scope = scope_of_artifact(store, checkpoint)
    records = {record.address: record for record in scope.records}
    reports = {address: store.report(address) for address in records}
    scored, asked = store.report(evaluation), store.load(evaluation).recipe.config.get("evaluate", {})
    model = records[checkpoint]
    pages, languages = _pages(scope)
    settings = {record.address: record.recipe.config for record in scope.records}
    stages = [{"stage": r.label, "state": "built", "seconds": r.seconds, "key": a} for a, r in records.items()]
    run = {"stages": stages, "prices": prices.model_dump()}
    return CardFacts(
        name=name,
        checkpoint=checkpoint,
        evaluation=evaluation,
        parents=list(inputs_of(model)),
        lineage=[record.address for record in reversed(scope.records)],
        config_hash=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12],
        git_commits=sorted({record.git_commit for record in scope.records if record.git_commit}),
        origin=read_origin(store.path(checkpoint)),
        declared=data_licenses(store.path(checkpoint)),
        shape=next((r.recipe.config["model"] for r in scope.records if "model" in r.recipe.config), {}),
        parameters=_parameters(reports.values()),
        trained=[
            (record.label, _learned(record, reports[record.address]))
            for record in scope.of_kind("checkpoint")
            if record.recipe.stage != "open_model"
        ],
        scores=side_by_side({model.label: (scored.metrics, scored.details)}),
        benchmarks=asked.get("benchmarks", []),
        decontamination=_over_nights(each for address in records for each in _decontamination(reports[address])),
        sources=pages,
        languages=languages,
        rows=rows_made(store, scope, reports),
        learned=rows_learned(scope, reports),
        stages=[_stage(record, reports[record.address]) for record in scope.records],
        masked=_masked(reports),
        alarms=sum(len(report.details.get("alarms") or []) for report in reports.values()),
        costs=list(stage_costs(store, run, records)),
        currency=prices.currency,
        gone=list(scope.gone),
    )


def _parameters(reports: Iterable[Report]) -> int | None:
    return next((int(report.metrics["parameters"]) for report in reports if "parameters" in report.metrics), None)


def _learned(record: Record, report: Report) -> str:
    algorithm = record.recipe.config.get("align", {}).get("algorithm")
    how = f" ({algorithm})" if algorithm else ""
    return f"{report.rows_out:,} {report.unit}{how}"


def _stage(record: Record, report: Report) -> Stage:
    return Stage(record.label, record.address, report.rows_in, report.rows_out, report.unit, dict(report.dropped))


def _decontamination(report: Report) -> list[Decontamination]:
    found = report.details.get("benchmarks")
    if not isinstance(found, dict):
        return []
    return [
        Decontamination(
            benchmark=name,
            items=int(row["items"]),
            not_covered=int(row["not_covered"]),
            found=int(row["found"]),
            pages_trimmed=int(row["trimmed"]),
            pages_dropped=int(row["dropped"]),
        )
        for name, row in found.items()
        if isinstance(row, dict) and "not_covered" in row
    ]


def _over_nights(found: Iterable[Decontamination]) -> list[Decontamination]:
    """One of each benchmark."""
    merged: dict[str, Decontamination] = {}
    for each in found:
        before = merged.get(each.benchmark, Decontamination(each.benchmark, 0, 0, 0, 0, 0))
        merged[each.benchmark] = Decontamination(
            each.benchmark,
            items=max(before.items, each.items),
            not_covered=max(before.not_covered, each.not_covered),
            found=before.found + each.found,
            pages_trimmed=before.pages_trimmed + each.pages_trimmed,
            pages_dropped=before.pages_dropped + each.pages_dropped,
        )
    return list(merged.values())


def _masked(reports: Mapping[str, Report]) -> dict[str, int]:
    found: dict[str, int] = {}
    for report in reports.values():
        for kind, pages in (report.details.get("redacted") or {}).items():
            found[kind] = found.get(kind, 0) + int(pages)
    return found


def _pages(scope: Scope) -> tuple[list[Source], list[tuple[str, int]]]:
    """By source and licence, and by language, the pages that the last judging stages let through."""
    import duckdb
    import pyarrow.dataset as ds

    judging = [record for record in scope.records if holds(record, VERDICTS)]
    before = {source for record in judging for source in inputs_of(record)}
    tables = [scope.file(record, VERDICTS) for record in judging if record.address not in before]
    if not tables:
        return [], []
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as db:
        db.register("pages", ds.dataset([str(table) for table in tables]))
        sources = db.execute(
            f"""select coalesce(source, 'unknown'), coalesce(license, 'not stated'), count(*), coalesce(sum(chars), 0)
                from pages where decision <> 'dropped' group by 1, 2 order by 3 desc, 1, 2 limit {SHOWN_GROUPS}"""
        ).fetchall()
        languages = db.execute(
            f"""select coalesce(language, 'not identified'), count(*) from pages where decision <> 'dropped'
                group by 1 order by 2 desc, 1 limit {SHOWN_GROUPS}"""
        ).fetchall()
    return (
        [Source(str(name), str(licence), int(pages), int(chars)) for name, licence, pages, chars in sources],
        [(str(name), int(pages)) for name, pages in languages],
    )
