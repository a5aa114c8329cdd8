"""`gristmill plan`: what a run would do, and why, before it does it."""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.cli import workspace
from flows.cli.scope import use_own_servers
from flows.cli.training_plan import training_lines, training_plan
from flows.pipeline import FLOWS
from gristmill.config import PipelineConfig
from gristmill.schema import SourceUnavailable
from tasks.stage import Session, Step, session


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def make_plan(
    flow: str, config: PipelineConfig, refresh: frozenset[str] = frozenset(), *, warn: Callable[[str], None] = _note
) -> list[Step]:
    """Every stage in order, with its state, key and reasons; nothing is computed or written.

    Raises ValueError for a refresh that no stage of this flow and configuration heeds.
    """
    planned = Session(
        store=workspace.store(),
        planning=True,
        refresh=refresh,
        earlier=workspace.earlier_recipes(),
        warn=warn,
    )
    use_own_servers()
    with session(planned):
        try:
            FLOWS[flow](config)
        except SourceUnavailable as error:  # asked by the flow itself: the checkpoint to start from, or the champion
            labels = {step.label for step in planned.steps}
            at, kind = ("promote", "promotion") if "pretrain" in labels else ("pretrain", "checkpoint")
            planned.steps.append(Step(at, "blocked", f"{kind}/{at}-unknown", [str(error)]))
            return planned.steps  # what lies behind it was not seen
    _check_refresh(flow, refresh, planned.steps)
    return planned.steps


def _check_refresh(flow: str, refresh: frozenset[str], steps: Sequence[Step]) -> None:
    # what is reused for no reason was named by its address, by the configuration or a series of nights
    heed = {name for step in steps if step.state != "reuse" or step.because for name in (step.label, _name(step))}
    if lost := sorted(refresh - heed):
        there = ", ".join(dict.fromkeys(step.label for step in steps))
        raise ValueError(
            f"--refresh {lost[0]}: the flow {flow} with this configuration builds no such stage; it has {there}, and "
            "does not build what it names by its address"
        )


def _name(step: Step) -> str:
    return step.label.partition("[")[0]


def as_json(flow: str, config: PipelineConfig, config_name: str, steps: list[Step]) -> dict[str, Any]:
    expected = expected_seconds()
    training = (
        {"training": training_plan(config, workspace.store())} if flow in ("pipeline", "pretrain", "classify") else {}
    )
    return {
        "schema_version": 1,
        "flow": flow,
        "config": config_name,
        "stages": [
            {
                "stage": step.label,
                "state": step.state,
                "key": step.address,
                "because": (step.because or ([f"built by {step.record.run}"] if step.record else [])) + step.notes,
                "expected_s": expected.get(step.label) if step.state == "build" else 0.0,
            }
            for step in steps
        ],
        **training,
    }


def expected_seconds() -> dict[str, float]:
    """Stage label → median seconds of its earlier builds in this store."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for record in workspace.store().records():
        seconds[record.label].append(record.seconds)
    return {label: statistics.median(values) for label, values in seconds.items()}


def what_moved(saved: Path, plan: dict[str, Any]) -> list[str]:
    """What differs between a plan that was saved and the plan of now, a sentence each; empty when nothing moved."""
    before = {stage["stage"]: stage for stage in json.loads(saved.read_text())["stages"]}
    now = {stage["stage"]: stage for stage in plan["stages"]}
    moved = [f"{label} is no longer part of the flow" for label in before.keys() - now.keys()]
    for label, stage in now.items():
        old = before.get(label)
        if old is None:
            moved.append(f"{label} was not part of the saved plan")
        elif old["key"] != stage["key"]:
            moved.append(f"{label}: the plan says {old['key']}, now it is {stage['key']}")
        elif old["state"] != stage["state"]:
            moved.append(f"{label}: the plan says {old['state']}, now it is {stage['state']}")
    return moved


def show(plan: dict[str, Any]) -> None:
    """The plan as a table on stdout, and what pretraining is about to do."""
    from rich.markup import escape
    from rich.table import Table

    from flows.cli.results import wide_console

    table = Table("stage", "state", box=None, header_style="bold", pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("expected", justify="right")
    table.add_column("because", overflow="fold")
    for stage in plan["stages"]:
        expected = stage["expected_s"]
        duration = "" if stage["state"] != "build" else f"{expected:,.0f} s" if expected is not None else "unknown"
        reasons = escape("\n".join(stage["because"]))
        table.add_row(escape(stage["stage"]), stage["state"], stage["key"], duration, reasons)
    states = [stage["state"] for stage in plan["stages"]]
    known = sum(stage["expected_s"] or 0 for stage in plan["stages"])
    console = wide_console()
    console.print(table)
    summary = ", ".join(f"{states.count(state)} to {state}" for state in ("reuse", "build") if state in states)
    blocked = f", {states.count('blocked')} blocked" if "blocked" in states else ""
    console.print(f"\n{summary}{blocked}; about {known:,.0f} s of building by earlier runs")
    if plan.get("training"):
        console.print("\npretrain", style="bold")
        for line in training_lines(plan["training"]):
            console.print(escape(line), highlight=False)
