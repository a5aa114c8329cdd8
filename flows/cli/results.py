"""The end of a run on stdout: one table of stages, the scores, the model, and where to look next."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli import workspace
from flows.cli.servers import Endpoints
from tasks.stage import Session, Step


def show(result: dict[str, Any], done: Session, endpoints: Endpoints) -> None:
    """Print what a finished run made."""
    console = wide_console()
    console.print(_stages(done.steps))
    scores = [step for step in done.steps if step.label.startswith("evaluate") and step.report]
    if scores:
        console.print("\n[bold]Scores after each training stage[/bold] (95 % intervals in brackets)")
        console.print(_scores(scores))
        for step in done.steps:
            if step.label in ("reward_model", "align") and step.report:
                console.print(escape(f"{step.label}: {_sentence(step.report.metrics)}"))
    for step in done.steps:
        if step.label in ("scaling", "ablation") and step.report:
            console.print(escape(_finding(step, done.store.path(step.address))))
    promotion = next((step for step in done.steps if step.label == "promote"), None)
    if promotion and promotion.report:
        _show_gate(console, promotion.report.details)
    if result["model"]:
        model = result["model"]
        console.print(
            f"\nmodel {model['name']} version {model['version']}, aliases: {', '.join(model['aliases']) or 'none'}"
        )
    console.print(f"Prefect {endpoints.prefect_ui}   MLflow {endpoints.mlflow_ui}")
    if result["model"]:
        console.print("talk to it: gristmill chat   (or .venv/bin/gristmill chat)")
    console.print(f"{result['config']} took {result['seconds']:.0f} s")


def _finding(step: Step, folder: Path) -> str:
    """What an experiment found, in a sentence, and where the rest is."""
    assert step.report
    if step.label == "ablation":
        return f"\n{step.report.details['verdict']}\ntable: {folder / 'table.md'}"
    metrics = step.report.metrics
    held_out = "no depth held out"
    if "held_out_error_percent" in metrics:
        held_out = (
            f"held-out models predicted within {metrics['held_out_error_percent']:.2f} % (by no change within "
            f"{metrics['held_out_no_change_error_percent']:.2f} %)"
        )
    return f"\nbits per byte = E + A / N^alpha + B / D^beta; {held_out}\ntables and plot: {folder / 'summary.md'}"


def wide_console() -> Console:
    """A console for tables: the terminal's own width, or one that fits them all where there is no terminal."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=140)


def _stages(steps: list[Step]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for name in ("in", "out"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("artifact", overflow="fold")
    for step in steps:
        report = step.report
        counts = (f"{report.rows_in:,}", f"{report.rows_out:,}", report.unit) if report else ("", "", "")
        table.add_row(escape(step.label), *counts, f"{step.seconds:.1f}", step.state, step.address)
    return table


def _scores(steps: list[Step]) -> Table:
    """One row a score, one column a model; an interval where the stage measured one."""
    table = Table("score", *[escape(step.label) for step in steps], box=None, header_style="bold", pad_edge=False)
    metrics = [step.report.metrics for step in steps if step.report]
    names = _measured(dict.fromkeys(name for values in metrics for name in values))
    for name in names:
        table.add_row(name, *[escape(_cell(name, values)) for values in metrics])
    return table


def _cell(name: str, values: dict[str, float]) -> str:
    if name not in values:
        return ""
    value = values[name]
    shown = f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.4f}"
    if f"{name}_ci_low" in values:
        shown += f" [{values[f'{name}_ci_low']:.4f}, {values[f'{name}_ci_high']:.4f}]"
    return shown


def _sentence(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {_cell(name, metrics)}" for name in _measured(metrics))


def _measured(metrics: Iterable[str]) -> list[str]:
    """Names of metrics without the bounds of their intervals."""
    return [name for name in metrics if not name.endswith(("_ci_low", "_ci_high"))]


def _show_gate(console: Console, verdict: dict[str, Any]) -> None:
    console.print(f"\n[bold]Gate[/bold] {_outcome(verdict)}")
    for rule in verdict["rules"]:
        console.print(f"  {'✓' if rule['passed'] else '✗'} {escape(rule['says'])}")


def _outcome(verdict: dict[str, Any]) -> str:
    approve = f"gristmill promote --name {verdict['model']} --approve {verdict['version']} --by YOU"
    return {
        "promoted": "passed, champion moved",
        "failed": "did not pass, no alias moved",
        "awaiting approval": f"passed, no alias moved: it waits for {approve}",
        "rolled back": f"passed, no alias moved: this version was rolled back; to bring it back, {approve}",
    }[verdict["state"]]


def show_status(root: Path, *, as_json: bool) -> int:
    """The last run, from last_run.json. Exit code 1 when there was none."""
    path = root / "last_run.json"
    if not path.exists():
        print(f"no run has finished in {root} yet; start one with `gristmill run --config quickstart`", file=sys.stderr)
        return 1
    last = workspace.read_run(path)
    if as_json:
        print(json.dumps(last, indent=2))
        return 0
    table = Table("stage", "state", "seconds", "artifact", box=None, header_style="bold", pad_edge=False)
    for stage in last["stages"]:
        table.add_row(escape(stage["stage"]), stage["state"], f"{stage['seconds']:.1f}", stage["key"])
    console = wide_console()
    console.print(
        f"{last['run']}: {last['flow']} took {last['seconds']:.0f} s; training logs lie in the artifacts' log.txt"
    )
    console.print(table)
    if last.get("error"):
        console.print(escape(f"It stopped: {last['error']}"))
    return 0
