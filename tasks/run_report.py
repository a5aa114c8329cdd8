"""The report of a run: an HTML file beside the run's record, tables in Prefect, the same file in MLflow."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import tracking
from tasks.stage import Session

if TYPE_CHECKING:
    from gristmill.run_report.facts import RunFacts


def publish_run_report(done: Session, run: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> Path | None:
    """Write `runs/RUN.html`, of a failed run too, and let Prefect and MLflow have it. Call it inside a Prefect flow.

    It is a view of records that are there already: when a part fails, the run says so and ends as it would have.
    """
    written = write_run_report(done, run, earlier)
    if written is None:
        return None
    facts, path = written
    try:
        tracking.log_to_parent(path)
        _tell_prefect(facts, path)
    except Exception as error:
        done.warn(f"{path} is in this folder alone ({type(error).__name__}: {error})")
    return path


def write_run_report(
    done: Session, run: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]
) -> "tuple[RunFacts, Path] | None":
    """The file alone. earlier: what earlier runs wrote about themselves, the newest first."""
    try:
        from gristmill.run_report.facts import gather
        from gristmill.run_report.page import write_page

        facts = gather(done.store, run, earlier)
        path = done.store.root / "runs" / f"{done.run}.html"
        write_page(facts, path)
    except Exception as error:
        done.warn(f"no report of this run ({type(error).__name__}: {error}); `gristmill report` tries again")
        return None
    return facts, path


def _tell_prefect(facts: "RunFacts", path: Path) -> None:
    from prefect.artifacts import create_link_artifact, create_table_artifact

    from gristmill.run_report.summary import funnel_rows, score_rows, verdict_text

    create_link_artifact(path.as_uri(), link_text=facts.verdict.title, key="report", description=verdict_text(facts))
    create_table_artifact(funnel_rows(facts), key="funnel", description="What each stage took, left and dropped")
    if facts.scores.models:
        create_table_artifact(score_rows(facts), key="scores", description="Scores through the stages, 95 % intervals")
