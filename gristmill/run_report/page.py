"""The report of a run as one HTML file (gristmill/html/shell.py)."""

from pathlib import Path

from gristmill.html.shell import render_page, write_whole
from gristmill.run_report.facts import RunFacts

TEMPLATE = Path(__file__).parent / "run.html.j2"


def write_page(facts: RunFacts, path: Path) -> None:
    """Write the report; a reader of `path` never sees half a file. It names the data report that lies beside it."""
    data = path.with_name(f"{facts.run['run']}.data.html")
    write_whole(path, render(facts, data_report=data.name if data.is_file() else ""))


def render(facts: RunFacts, *, data_report: str = "") -> str:
    """The report's HTML. data_report: name of a file in the same folder, to link to."""
    return render_page(TEMPLATE, facts=facts, data_report=data_report)
