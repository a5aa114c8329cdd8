"""Rows behind a model: those that a stage made, and those that fine-tuning and alignment learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gristmill.model.origin import data_licenses
from gristmill.report import Report
from gristmill.scope import Scope, inputs_of
from gristmill.store import ArtifactStore, Record


@dataclass(frozen=True)
class Rows:
    """What a stage made to learn answers from. counts: of each kind; total: of all; trained: whether one did learn."""

    label: str
    address: str
    source: str
    licence: str
    counts: dict[str, int]
    total: int
    trained: bool


@dataclass(frozen=True)
class Learned:
    """What a training learned from. licence: as declared; None for rows that a stage made, which have their own."""

    label: str
    stage: str
    rows: str
    source: str
    licence: str | None


def rows_made(store: ArtifactStore, scope: Scope, reports: Mapping[str, Report]) -> list[Rows]:
    """By the stages `examples`, `synthesize` and `preferences`."""
    made = {record.address: record for record in scope.of_kind("examples")}
    trained = _read_by_trainings(made, scope)
    return [_rows(store, record, reports[address], address in trained) for address, record in made.items()]


def rows_learned(scope: Scope, reports: Mapping[str, Report]) -> list[Learned]:
    """By each training on rows or prompts; pretraining reads pages."""
    return [
        _learned(record, source, reports[record.address])
        for record in scope.of_kind("checkpoint")
        if (source := _source(record))
    ]


def _read_by_trainings(made: Mapping[str, Record], scope: Scope) -> set[str]:
    """Addresses of rows that a training read, or that the rows which it read were made from."""
    trainings = [record for record in scope.of_kind("checkpoint") if _source(record).get("kind") == "examples"]
    found: set[str] = set()
    ahead = [record.recipe.inputs.get("examples") for record in trainings]
    while ahead:
        address = ahead.pop()
        if address and address in made and address not in found:
            found.add(address)
            ahead += inputs_of(made[address])
    return found


def _rows(store: ArtifactStore, record: Record, report: Report, trained: bool) -> Rows:
    source = record.recipe.config.get(record.recipe.stage, {}).get("source") or {}
    packages = ", ".join(source.get("packages") or [])
    named = f"{source.get('kind', record.recipe.stage)}{f' ({packages})' if packages else ''}"
    counts = {name: int(value) for name, value in report.metrics.items() if name.startswith("rows_")}
    noted = ", ".join(dict.fromkeys(data_licenses(store.path(record.address)).values()))
    licence = str(source.get("license") or noted or "not recorded")
    return Rows(record.label, record.address, named, licence, counts, report.rows_out, trained)


def _learned(record: Record, source: dict[str, Any], report: Report) -> Learned:
    kind, content = source.get("kind"), source.get("content")
    licence: str | None = str(report.details.get("data_license") or source.get("license") or "not recorded")
    if kind == "examples":
        named, licence = str(record.recipe.inputs.get("examples")), None
    elif kind == "hub" and content:
        named = f"{content['hub']} at {content['revision'][:7]}"
    elif kind == "mix" and content:
        named = f"files, the tasks {', '.join(name for name, *_ in content)}"
    else:
        named = f"{len(content)} files" if content else "a file"
    asked = "prompts " if "prompts" in record.recipe.config[record.recipe.stage] else ""
    rows = f"{report.rows_out:,} {report.unit} ({report.rows_in:,} {asked}read)"
    return Learned(record.label, record.recipe.stage, rows, named, licence)


def _source(record: Record) -> dict[str, Any]:
    """Where a training's rows or prompts come from, as its configuration says."""
    settings = record.recipe.config.get(record.recipe.stage) or {}
    return settings.get("data") or settings.get("prompts") or {}
