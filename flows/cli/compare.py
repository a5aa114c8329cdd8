"""`gristmill compare`: two models or two runs, as a table here and as one HTML file."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli import workspace
from flows.cli.scope import address_of, find_run, find_version
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.run_report.comparison import Comparison
    from gristmill.store import ArtifactStore

SCHEMA_VERSION = 1


def compare(
    first: Annotated[
        str, Parameter(help="NAME/2 or NAME@ALIAS of a registered model, an artifact's address, or a run's beginning.")
    ],
    second: Annotated[str, Parameter(help="Likewise; differences are the first minus this one.")],
    *,
    out: Annotated[Path | None, Parameter(help="The file; default: FIRST-beside-SECOND.html among the runs.")] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="The comparison as JSON; no file is written.")
    ] = False,
) -> int:
    """Scores on the same items, settings that differ, what went in, answers: two models or two runs side by side."""
    from gristmill.run_report.comparison import compare as compare_models
    from gristmill.run_report.comparison import write_comparison

    store = workspace.store()
    sides = [(name, _evaluation(store, name)) for name in (first, second)]
    found = compare_models(store, *sides)
    if as_json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(found)}, indent=2, default=str))
        return 0
    name = "-beside-".join(re.sub(r"[^A-Za-z0-9.]+", "-", each) for each in (first, second))
    path = out or workspace.root() / "runs" / f"{name}.html"
    write_comparison(found, path)
    _show(found)
    print(path)
    print("open the file in a browser", file=sys.stderr)
    return 0


def _evaluation(store: "ArtifactStore", name: str) -> str:
    """The evaluation of a model, an artifact or a run. Raises ConfigError or ValueError."""
    from gristmill.run_report.comparison import evaluation_of

    if "@" in name or re.fullmatch(r"[A-Za-z0-9._-]+/[0-9]+", name):
        return address_of(find_version(name), name, "evaluation")
    if "/" in name:
        return evaluation_of(store, name)
    run = find_run(name)
    own = [stage for stage in run["stages"] if re.fullmatch(r"evaluate\[(?!champion\])[^\]]+\]", stage["stage"])]
    if not own:
        raise ConfigError(f"run {run['run']} evaluated no model; name a run of the flow pipeline, or a model")
    return own[-1]["key"]


def _show(found: "Comparison") -> None:
    from rich.markup import escape
    from rich.table import Table

    from flows.cli.results import wide_console

    console = wide_console()
    table = Table("score", escape(found.first), escape(found.second), box=None, header_style="bold", pad_edge=False)
    for row in found.scores.rows:
        table.add_row(row.name, *["" if cell is None else escape(str(cell)) for cell in row.cells])
    console.print(table)
    for row in found.items:
        difference = row.difference
        console.print(
            f"\n{row.benchmark}, {row.n:,} same items ({row.left_out:,} left out): "
            f"{difference.estimate:+.4f} \\[{difference.low:+.4f}, {difference.high:+.4f}]; "
            f"only the first is right on {row.only_first:,}, only the second on {row.only_second:,}"
        )
    for row in found.refused:
        console.print(escape(f"\n{row.benchmark} is not compared: {row.why}"))
    if found.unknown:
        console.print(escape(f"all items count: {found.unknown}"))
    for each in found.changed:
        console.print(escape(f"{each.stage}  {each.change}"))
