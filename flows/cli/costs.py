"""`gristmill costs`: the ledger of a run by stage, and what the cache saved."""

import json

from rich.markup import escape
from rich.table import Table

from flows.cli.results import wide_console
from flows.cli.scope import find_run
from gristmill.ledger.account import Priced, RunCosts, run_costs
from gristmill.ledger.config import PricesConfig


def costs(run: str | None, prices: PricesConfig | None, *, as_json: bool) -> int:
    """Print a run's ledger; the last one's where none is named. Raises ConfigError or ValueError when there is none."""
    ledger = run_costs(find_run(run), prices)
    if as_json:
        print(json.dumps({"schema_version": 1, **ledger.model_dump(mode="json")}, indent=2))
    else:
        _show(ledger)
    return 0


def _show(ledger: RunCosts) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    heads = ("seconds", "CPU s", "GPU s", "peak MB", "read MB", "written MB", "Wh", ledger.currency, "g CO₂")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for stage in ledger.stages:
        cells = _cells(stage.priced) if stage.priced else ["not recorded", *[""] * (len(heads) - 1)]
        table.add_row(escape(stage.stage), stage.state, *cells)
    table.add_section()
    table.add_row("built in this run", "", *_cells(ledger.spent), style="bold")
    table.add_row("saved by the cache", "", *_cells(ledger.saved), style="bold")
    console = wide_console()
    console.print(f"{ledger.run}: {ledger.seconds:,.0f} s; a reused stage is shown with what its build had cost")
    console.print(table)
    for note in _notes(ledger):
        console.print(escape(note))


def _cells(priced: Priced) -> list[str]:
    costs = priced.costs
    megabytes = (costs.peak_memory_bytes, costs.bytes_read, costs.bytes_written)
    return [
        f"{costs.seconds:,.1f}",
        f"{costs.cpu_seconds:,.1f}",
        _or_dash(costs.gpu_seconds, ",.1f"),
        *[f"{size / 1e6:,.0f}" for size in megabytes],
        _or_dash(None if priced.kwh is None else priced.kwh * 1000, ",.2f"),
        _or_dash(priced.money, ",.4f"),
        _or_dash(priced.grams_co2, ",.2f"),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _notes(ledger: RunCosts) -> list[str]:
    notes = {
        "measured": "energy: measured, all processors and GPUs of the machine",
        "estimated": "energy: estimated, CPU seconds × prices.cpu_watts; this machine's own counter is not readable",
        "not readable": "energy: not readable on this machine; prices.cpu_watts gives an estimate",
    }
    lines = [notes[ledger.spent.energy if ledger.spent.costs.seconds else ledger.saved.energy]]
    if ledger.spent.money is None:
        lines.append("money: no price is stated; see prices in pipeline_configs/base.yaml")
    if ledger.unknown:
        lines.append(f"older than the ledger, in no sum: {', '.join(ledger.unknown)}")
    return lines
