"""Everything a report of a run says, read from its records: whatever the history, in a few seconds.

What is read is the run, the one before it, and the artifacts of both; long files are not read whole. What was deleted
since is named.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gristmill.artifacts import Evaluation
from gristmill.ledger.account import RunCosts, run_costs
from gristmill.program import RESULT
from gristmill.recipe_changes import Change, changes
from gristmill.report import Report
from gristmill.run_report.answers import Asked, Disagreement, Incomparable, disagreements, read_asked
from gristmill.run_report.cost import METRICS, StageCost, stage_costs
from gristmill.run_report.curves import Panel, read_panels
from gristmill.run_report.failure import Failure, failure_of
from gristmill.run_report.lineage import Node, read_record, tree
from gristmill.run_report.scores import Scores, side_by_side
from gristmill.run_report.verdict import Verdict, verdict_of
from gristmill.scope import VERDICTS, holds, inputs_of
from gristmill.store import ArtifactStore, Record

SAMPLES = "samples.jsonl"
SHOWN_REASONS = 12
SHOWN_CHANGES = 120


@dataclass(frozen=True)
class StageRow:
    """One row of the funnel."""

    stage: str
    state: str
    artifact: str
    rows_in: int | None
    rows_out: int | None
    unit: str
    share: float | None
    """Of the pages that entered the first judging stages behind it, one of each night, how many are left; None where
    rows are not pages."""
    reasons: list[tuple[str, int]]
    """Rule → rows that it dropped, the most frequent first."""
    more_reasons: int = 0


@dataclass(frozen=True)
class StageChange:
    """What differs in one stage's recipe from the run before."""

    stage: str
    change: Change


@dataclass(frozen=True)
class RunFacts:
    """A report of a run."""

    run: Mapping[str, Any]
    """As `runs/RUN.json` has it."""
    started: str
    verdict: Verdict
    failure: Failure | None
    about: list[tuple[str, str]]
    """What was run, by name."""
    stages: list[StageRow]
    panels: list[Panel]
    scores: Scores
    champion: list[Disagreement]
    champion_refused: list[Incomparable]
    """Benchmarks that the champion was asked otherwise."""
    asked: list[Asked]
    noticed: list[tuple[str, str, int]]
    """Stage, what it masked or raised, how often."""
    costs: Sequence[StageCost]
    ledger: RunCosts
    """What this run spent, and what its cache saved; an artifact counts once."""
    lineage: Node | None
    before: str
    """Name of the run that this one is compared with; empty for the first."""
    changed: list[StageChange]
    rebuilt: list[str]
    """Stages that differ by their inputs alone."""
    gone: list[str]


def gather(store: ArtifactStore, run: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> RunFacts:
    """earlier: other runs, the newest first; the newest of the same flow and configuration is compared with."""
    keys = {stage["key"]: stage["stage"] for stage in run["stages"]}
    found = {key: record for key in keys if (record := read_record(store, key))}
    reports = {key: report for key in found if (report := _report(store, key))}
    labels = {found[key].label if key not in keys else keys[key]: key for key in reports}
    promotion = next((reports[key].details for key in reports if found[key].recipe.stage == "promote"), None)
    evaluations = {label: key for label, key in labels.items() if found[key].recipe.kind == Evaluation.kind}
    own = [label for label in evaluations if label != "evaluate[champion]"]
    last = reports[evaluations[own[-1]]].metrics if own else {}
    before = _before(run, earlier)
    champion, champion_refused = _against_champion(store, found, reports)
    changed, rebuilt = _changed(store, found, keys, before) if before else ([], [])
    end = promotion["checkpoint"] if promotion else next(reversed(found), None)
    return RunFacts(
        run=run,
        started=_started(run["run"]),
        verdict=verdict_of(run, promotion, last),
        failure=failure_of(run, store.root),
        about=_about(run, found, reports),
        stages=_funnel(run, found, reports),
        panels=[
            panel
            for key, record in found.items()
            if record.recipe.kind == "checkpoint" and holds(record, METRICS)
            for panel in read_panels(keys[key], store.file(key, METRICS))
        ],
        scores=side_by_side(
            {_model(name): (reports[k].metrics, reports[k].details) for name, k in evaluations.items()}
        ),
        champion=champion,
        champion_refused=champion_refused,
        asked=read_asked(
            {_model(name): store.file(k, SAMPLES) for name, k in evaluations.items() if holds(found[k], SAMPLES)}
        ),
        noticed=_noticed(keys, reports),
        costs=stage_costs(store, run, found),
        ledger=run_costs(run),
        lineage=tree(store, end) if end else None,
        before=before["run"] if before else "",
        changed=changed[:SHOWN_CHANGES],
        rebuilt=rebuilt,
        gone=[key for key in keys if key not in reports and not key.endswith("-unknown")],
    )


def _report(store: ArtifactStore, address: str) -> Report | None:
    try:
        return store.report(address)
    except (FileNotFoundError, ValueError):
        return None


def _model(label: str) -> str:
    """`evaluate[sft]` → `sft`."""
    return label.partition("[")[2].removesuffix("]") or label


def _started(name: str) -> str:
    """From the time at the end of a run's name; empty for one without."""
    try:
        return datetime.strptime(name[-15:], "%Y%m%d-%H%M%S").isoformat(" ") + " UTC"
    except ValueError:
        return ""


def _funnel(run: Mapping[str, Any], found: Mapping[str, Record], reports: Mapping[str, Report]) -> list[StageRow]:
    judging = {key: found[key] for key in reports if holds(found[key], VERDICTS)}
    rows = []
    for stage in run["stages"]:
        key, report = stage["key"], reports.get(stage["key"])
        if report is None:
            rows.append(StageRow(stage["stage"], stage["state"], key, None, None, "", None, []))
            continue
        reasons = sorted(report.dropped.items(), key=lambda entry: (-entry[1], entry[0]))
        pages = sum(reports[entry].rows_in for entry in _entries(key, judging)) if key in judging else 0
        share = report.rows_out / pages if pages else None
        rows.append(
            StageRow(
                *(stage["stage"], stage["state"], key, report.rows_in, report.rows_out, report.unit, share),
                reasons=reasons[:SHOWN_REASONS],
                more_reasons=max(0, len(reasons) - SHOWN_REASONS),
            )
        )
    return rows


def _entries(key: str, judging: Mapping[str, Record]) -> set[str]:
    """The first judging stages behind a judging stage."""
    before = [source for source in inputs_of(judging[key]) if source in judging]
    return set().union(*(_entries(source, judging) for source in before)) if before else {key}


def _about(run: Mapping[str, Any], found: Mapping[str, Record], reports: Mapping[str, Report]) -> list[tuple[str, str]]:
    """The few settings and sizes that say what kind of run it was."""
    said = [("flow", run["flow"]), ("configuration", run["config"])]
    for key, record in found.items():
        recipe, metrics = record.recipe, reports[key].metrics if key in reports else {}
        if recipe.stage == "ingest" and key in reports:
            said.append(("sources", ", ".join(reports[key].details.get("sources", {}))))
        if recipe.stage == "train_tokenizer" and key in reports:
            said.append(("vocabulary", f"{reports[key].rows_out:,} tokens"))
        if recipe.stage == "pretrain":
            shape = recipe.config.get("model", {})
            size = f", {metrics['parameters']:,.0f} parameters" if "parameters" in metrics else ""
            said.append(("model", f"{shape.get('family')}, depth {shape.get('depth')}{size}"))
            said.append(("start", str(shape.get("start", {}).get("kind"))))
            if key in reports:
                said.append(("pretraining", f"{reports[key].rows_out:,} {reports[key].unit}"))
        if recipe.stage in ("sft", "align") and key in reports:
            how = recipe.config.get("align", {}).get("algorithm")
            said.append((recipe.stage, f"{f'{how}, ' if how else ''}{reports[key].rows_out:,} {reports[key].unit}"))
        if recipe.kind == Evaluation.kind and "benchmarks" not in dict(said):
            benchmarks = recipe.config.get("evaluate", {}).get("benchmarks", [])
            said.append(("benchmarks", ", ".join(each.get("name", "") for each in benchmarks)))
    commits = sorted({record.git_commit for record in found.values() if record.git_commit})
    said.append(("git commit", ", ".join(commits) or "not in a checkout"))
    built = [record for key, record in found.items() if record.run == run["run"]]
    if built:
        resources = built[-1].resources
        said.append(("machine", ", ".join(f"{name} {resources[name]}" for name in _MACHINE if resources.get(name))))
    return [(name, value) for name, value in said if value]


_MACHINE = ("device", "workers", "threads", "processes", "nodes", "engine")


def _against_champion(
    store: ArtifactStore, found: Mapping[str, Record], reports: Mapping[str, Report]
) -> tuple[list[Disagreement], list[Incomparable]]:
    promotion = next((record for key, record in found.items() if record.recipe.stage == "promote"), None)
    mine, theirs = (promotion.recipe.inputs.get(name) if promotion else None for name in ("evaluation", "champion"))
    if not mine or not theirs or mine not in reports or theirs not in reports:
        return [], []
    for address in (mine, theirs):
        store.file(address, "items.parquet")  # a remote store brings it here
    folders = [store.file(address, RESULT).parent for address in (mine, theirs)]
    return disagreements(*folders, against="the champion")


def _noticed(keys: Mapping[str, str], reports: Mapping[str, Report]) -> list[tuple[str, str, int]]:
    """Personal data that was masked, and alarms."""
    rows = []
    for key, report in reports.items():
        masked = report.details.get("redacted") or {}
        rows += [(keys[key], f"texts with {name} masked", int(pages)) for name, pages in masked.items()]
        if alarms := report.details.get("alarms"):
            rows.append((keys[key], "alarms", len(alarms)))
        if skipped := report.metrics.get("skipped_steps"):
            rows.append((keys[key], "training steps skipped", int(skipped)))
    return rows


def _before(run: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The newest run before this one of the same flow and configuration."""
    for other in earlier:
        same = other["flow"] == run["flow"] and other["config"] == run["config"]
        if same and other["run"] != run["run"] and other["run"][-15:] < run["run"][-15:] and not other.get("error"):
            return other
    return None


def _changed(
    store: ArtifactStore, found: Mapping[str, Record], keys: Mapping[str, str], before: Mapping[str, Any]
) -> tuple[list[StageChange], list[str]]:
    old = {stage["stage"]: stage["key"] for stage in before["stages"]}
    changed, rebuilt = [], []
    for key, record in found.items():
        was = read_record(store, old[keys[key]]) if keys[key] in old and old[keys[key]] != key else None
        if was is None:
            continue
        own = [StageChange(keys[key], each) for each in changes(record.recipe, was.recipe) if not each.is_input]
        changed += own
        if not own:
            rebuilt.append(keys[key])
    return changed, rebuilt


def as_json(facts: RunFacts) -> dict[str, Any]:
    """The facts as JSON values."""
    from dataclasses import asdict

    # asdict leaves the ledger as it is
    return json.loads(json.dumps(asdict(facts) | {"ledger": facts.ledger.model_dump()}, default=str))
