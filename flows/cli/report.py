"""`gristmill report`: what a run did, as one HTML file to open, keep or send."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from flows.cli import workspace
from flows.cli.scope import Address, Model, Run, find_run, find_scope

SCHEMA_VERSION = 1

app = App(name="report", help="What a run did, from crawl to model, as one HTML file.")


@app.default
def of_run(
    run: Annotated[str | None, Parameter(help="A run's name or its beginning; the last run when left out.")] = None,
    *,
    out: Annotated[Path | None, Parameter(help="The file; default: RUN.html beside the run's record.")] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="The facts as JSON; no file is written.")
    ] = False,
) -> int:
    """The story of a run: verdict, gate, data, training, scores, answers, cost, lineage; of a failed one, the cause."""
    from gristmill.run_report.facts import as_json as json_facts
    from gristmill.run_report.facts import gather

    chosen = find_run(run)
    facts = gather(workspace.store(), chosen, workspace.runs(before=chosen["run"]))
    if as_json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **json_facts(facts)}, indent=2))
        return 0
    from gristmill.run_report.page import write_page

    path = out or workspace.root() / "runs" / f"{chosen['run']}.html"
    write_page(facts, path)
    print(path)
    print(f"{facts.verdict.title}; open the file in a browser", file=sys.stderr)
    return 0


@app.command
def data(
    *,
    run: Run = None,
    artifact: Address = None,
    model: Model = None,
    out: Annotated[Path | None, Parameter(help="The file; default: RUN.data.html beside the run's record.")] = None,
    samples: Annotated[int, Parameter(help="Pages to show for each rule.", validator=Number(gte=0))] = 3,
    seed: Annotated[int, Parameter(help="Changes which pages are shown.")] = 0,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="The facts as JSON; no file is written.")
    ] = False,
) -> int:
    """The funnel, every rule, languages, lengths, domains, licences, signals with thresholds, samples."""
    from gristmill.data_report.facts import gather

    scope = find_scope(run, artifact, model)
    facts = gather(scope, samples=samples, seed=seed)
    if as_json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(facts)}, indent=2))
        return 0
    from gristmill.data_report.page import write_page

    path = out or workspace.root() / "runs" / f"{scope.name.removeprefix('run ').replace('/', '.')}.data.html"
    write_page(facts, path)
    print(path)
    print(f"{facts.pages:,} pages in, {facts.left:,} left; open the file in a browser", file=sys.stderr)
    return 0
