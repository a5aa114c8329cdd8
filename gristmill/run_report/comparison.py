"""Two evaluated models side by side: the same items, the settings that differ, what went in, what they answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gristmill.artifacts import Checkpoint, Evaluation
from gristmill.evaluate.pairing import ITEMS
from gristmill.html.shell import render_page, write_whole
from gristmill.promotion.exposure import find_exposure
from gristmill.recipe_changes import changes
from gristmill.run_report.answers import Asked, Disagreement, Incomparable, disagreements, read_asked
from gristmill.run_report.facts import SAMPLES, SHOWN_CHANGES, StageChange
from gristmill.run_report.scores import Scores, side_by_side
from gristmill.scope import holds, scope_of_artifact
from gristmill.store import ArtifactStore, Record

TEMPLATE = Path(__file__).parent / "compare.html.j2"


@dataclass(frozen=True)
class Flow:
    """What one stage let through for either model; None where it has no such stage."""

    stage: str
    unit: str
    first: int | None
    second: int | None
    seconds: tuple[float | None, float | None]
    """Of building it."""


@dataclass(frozen=True)
class Comparison:
    """`items` are differences first minus second."""

    first: str
    second: str
    models: tuple[str, str]
    """Addresses of the checkpoints."""
    scores: Scores
    items: list[Disagreement]
    refused: list[Incomparable]
    """Benchmarks that were not asked alike."""
    unknown: str
    """Why nobody knows which items were kept out of the training text; empty where that is known."""
    changed: list[StageChange]
    """Settings from the second model's to the first one's."""
    flows: list[Flow]
    asked: list[Asked]


def compare(store: ArtifactStore, first: tuple[str, str], second: tuple[str, str]) -> Comparison:
    """Each: how to call it, and the address of its evaluation. Raises ValueError for one model given twice."""
    if first[1] == second[1]:
        raise ValueError(f"{first[0]} and {second[0]} are both {first[1]}; give two different models or runs")
    names = (first[0], second[0]) if first[0] != second[0] else (first[1], second[1])
    evaluations = [store.load(address) for _, address in (first, second)]
    exposure = find_exposure(store, [first[1], second[1]], accept_open_weights=False)
    for record in evaluations:
        store.file(record.address, ITEMS)  # a remote store brings it here
    folders = [store.file(record.address, "report.json").parent for record in evaluations]
    behind = [_behind(store, record) for record in evaluations]
    reports = [store.report(record.address) for record in evaluations]
    left_out = {name: each.items for name, each in exposure.items()}
    items, refused = disagreements(*folders, against=names[1], exposed=left_out)
    return Comparison(
        *names,
        models=(str(evaluations[0].recipe.inputs["model"]), str(evaluations[1].recipe.inputs["model"])),
        scores=side_by_side({name: (r.metrics, r.details) for name, r in zip(names, reports, strict=True)}),
        items=items,
        refused=refused,
        unknown=next((each.unknown for each in exposure.values() if each.unknown), ""),
        changed=_changed(*behind)[:SHOWN_CHANGES],
        flows=_flows(store, *behind),
        asked=read_asked(
            {
                name: store.file(record.address, SAMPLES)
                for name, record in zip(names, evaluations, strict=True)
                if holds(record, SAMPLES)
            }
        ),
    )


def evaluation_of(store: ArtifactStore, address: str) -> str:
    """The newest evaluation of a checkpoint, or the one that is named. Raises ValueError where there is none."""
    record = store.load(address)
    if record.recipe.kind == Evaluation.kind:
        return address
    if record.recipe.kind == Checkpoint.kind:
        for each in reversed(store.records()):
            if each.recipe.kind == Evaluation.kind and each.recipe.inputs.get("model") == address:
                return each.address
    raise ValueError(f"{address} was not evaluated; name a checkpoint that was, its evaluation, a model or a run")


def write_comparison(comparison: Comparison, path: Path) -> None:
    """As one HTML file (gristmill/html/shell.py)."""
    write_whole(path, render_page(TEMPLATE, facts=comparison))


def _behind(store: ArtifactStore, evaluation: Record) -> dict[str, Record]:
    """By label, what the evaluated model was made from; of two with one label the nearer."""
    model = str(evaluation.recipe.inputs["model"])
    return {record.label: record for record in scope_of_artifact(store, model).records}


def _changed(first: Mapping[str, Record], second: Mapping[str, Record]) -> list[StageChange]:
    return [
        StageChange(label, change)
        for label, record in first.items()
        if label in second
        for change in changes(record.recipe, second[label].recipe)
        if not change.is_input
    ]


def _flows(store: ArtifactStore, first: Mapping[str, Record], second: Mapping[str, Record]) -> list[Flow]:
    rows = []
    for label in dict.fromkeys([*second, *first]):
        sides = [side.get(label) for side in (first, second)]
        reports = [store.report(record.address) if record else None for record in sides]
        unit = next(report.unit for report in reports if report)
        out = [report.rows_out if report else None for report in reports]
        seconds = [record.seconds if record else None for record in sides]
        rows.append(Flow(label, unit, out[0], out[1], (seconds[0], seconds[1])))
    return rows
