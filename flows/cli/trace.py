"""`gristmill trace`: what became of one page."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.scope import Address, Model, Run, find_scope

if TYPE_CHECKING:
    from gristmill.trace import Built, Event, Span, Story

SCHEMA_VERSION = 1
NEAREST = 3

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


def trace(
    page: Annotated[str, Parameter(help="A URL in any spelling, a document id or the hash of a text.")],
    /,
    *,
    run: Run = None,
    artifact: Address = None,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Tell one page's story: kept where, or dropped by which rule with which value; which rows and models hold it."""
    from gristmill.pages import printable
    from gristmill.trace import trace as tell

    scope = find_scope(run, artifact, model)
    stories = tell(scope, page)
    if as_json:
        told = [asdict(story) | {"end": story.end} for story in stories]
        print(json.dumps({"schema_version": SCHEMA_VERSION, "scope": scope.name, "pages": told}, indent=2))
        return 0
    print(f"{scope.name}: {len(stories)} capture{'s'[: len(stories) != 1]} of {printable(page)}")
    for gone in scope.gone:
        print(f"  {gone} is gone from the store; what it decided is not known")
    for story in stories:
        print("\n" + "\n".join(printable(line) for line in lines_of(story)))
    return 0


def lines_of(story: "Story") -> list[str]:
    """What is printed of one capture of a page."""
    page = story.page
    lines = [page["url"] or "(no URL)", f"  doc_id {page['doc_id']}, captured {page['date']}"]
    lines.append(f"  source {page['source']}, licence {page['license']}")
    for event in story.events:
        lines.append(_line(event.stage, _sentence(event), event.artifact))
        lines += [f"  {'':<14} {more}" for more in _details(event)]
    lines += [_line("tokenize", _place(spans), spans[0].artifact) for spans in _copies(story.spans)]
    lines += [_line(built.label, _use(built), built.artifact) for built in story.built]
    return [*lines, f"  → {story.end}"]


def _line(stage: str, sentence: str, artifact: str) -> str:
    return f"  {stage:<14} {sentence:<60} {artifact}"


def _sentence(event: "Event") -> str:
    if event.stage == "ingest":
        return event.measured["place"]
    if event.stage == "split" and event.measured:
        return f"falls to {event.measured['split']}"
    if event.rule:
        kept = f", kept: {event.threshold}" if event.threshold else ""
        return f"{event.decision} by {event.rule}: {event.value}{kept}"
    if event.stage == "signals":
        return f"measured {sum(value is not None for value in event.measured.values())} signals"
    if event.stage == "extract":
        measured = event.measured
        score = "" if measured["language_score"] is None else f" {measured['language_score']:.2f}"
        status = f" ({measured['language_status']})" if measured["language_status"] else ""
        return f"kept: {measured['language']}{score}{status}, {measured['chars']:,} characters"
    if event.stage == "filter":
        return f"{event.decision}: within all {len(event.margins)} thresholds"
    if event.stage == "mix" and (event.measured.get("epochs") or 1) > 1:
        return f"kept, and seen {event.measured['epochs']} times in training"
    if event.stage == "dedup" and (event.measured.get("cluster_size") or 1) > 1:
        return f"kept, and stands for {event.measured['cluster_size']} pages"
    return event.decision


def _details(event: "Event") -> list[str]:
    """Lines below an event."""
    if event.margins:
        if event.rule:
            failed = [each for each in event.margins if not each.kept and each.rule != event.rule]
            names = ", ".join(f"{each.rule} ({_number(each.value)})" for each in failed)
            return [f"it fails {names} too"] if failed else []
        signs = {"min": "≥", "max": "≤"}
        # a count of 0 where 0 is allowed is not near anything
        near = [each for each in event.margins if each.value or each.threshold][:NEAREST]
        shown = [f"{_number(each.value)} {signs[each.side]} {_number(each.threshold)} ({each.rule})" for each in near]
        return [f"nearest: {', '.join(shown)}"] if shown else []
    if instead := event.measured.get("kept_instead"):
        return [f"kept instead: {instead['doc_id']} {instead['url']}"] if instead["url"] else []
    dropped: list[dict[str, Any]] = event.measured.get("dropped_for_this") or []
    return [f"for it was dropped: {other['doc_id']} {other['url']} ({other['rule']})" for other in dropped[:NEAREST]]


def _copies(spans: "list[Span]") -> "list[list[Span]]":
    """Spans that follow each other in one file: a page that is seen several times begins several times."""
    copies: list[list[Span]] = []
    for span in spans:
        before = copies[-1][-1] if copies else None
        if before and span.continuation and (span.artifact, span.file) == (before.artifact, before.file):
            copies[-1].append(span)
        else:
            copies.append([span])
    return copies


def _place(spans: "list[Span]") -> str:
    """Where a copy's tokens stand in one file. A page goes on in the next row, so its rows follow each other."""
    first, last = spans[0], spans[-1]
    rows = f"row {first.row_in_file:,}"
    if last.row_in_file > first.row_in_file:
        rows = f"rows {first.row_in_file:,} to {last.row_in_file:,}"
    return f"{first.file} {rows}, from token {first.start} to token {last.start + last.tokens - 1}"


def _use(built: "Built") -> str:
    if built.steps is None:
        return "made from a model that was trained on it"
    if not built.steps:
        return "not read: the training budget ended before"
    steps = ", ".join(f"{step:,}" for step in built.steps[:NEAREST])
    more = f" and {len(built.steps) - NEAREST} more" if len(built.steps) > NEAREST else ""
    return f"read in step{'s'[: len(built.steps) != 1]} {steps}{more}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"
