"""The data report of a run: an HTML file beside the run's record, and the same as a Prefect artifact."""

from pathlib import Path

from gristmill.scope import VERDICTS, scope_of_run
from tasks.stage import Session


def publish_data_report(done: Session) -> Path | None:
    """Write `runs/RUN.data.html` and Prefect's `data-report`, when this run built anything that judges pages.

    It is a view of artifacts that are published already and can be made again at any time: when it fails, the run says
    so and stays as good as it was. Call it inside a Prefect flow.
    """
    built = [step for step in done.steps if step.state == "built"]
    if not any(done.store.file(step.address, VERDICTS).exists() for step in built):
        return None
    try:
        return _publish(done)
    except Exception as error:
        done.warn(f"no data report ({type(error).__name__}: {error}); `gristmill report data` tries again")
        return None


def _publish(done: Session) -> Path:
    from gristmill.data_report.facts import gather
    from gristmill.data_report.page import write_page
    from gristmill.data_report.summary import markdown

    facts = gather(scope_of_run(done.store, done.run, [step.address for step in done.steps]))
    path = done.store.root / "runs" / f"{done.run}.data.html"
    write_page(facts, path)
    from prefect.artifacts import create_markdown_artifact  # takes seconds, and the file is there already

    create_markdown_artifact(markdown(facts), key="data-report", description=f"All of it: {path}")
    return path
