"""A run leaves its report behind, a failed one too; a server that is away costs a note and no run."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from audited_store import make_store

from gristmill.store import ArtifactStore
from tasks import tracking
from tasks.run_report import publish_run_report
from tasks.stage import Session, Step

RUN = "test-20260101-000000"


def finished(store: ArtifactStore, notes: list[str]) -> tuple[Session, dict[str, Any]]:
    steps = [Step(record.label, "built", record.address) for record in store.records()]
    stages = [{"stage": step.label, "state": step.state, "seconds": 1.0, "key": step.address} for step in steps]
    run = {"run": RUN, "flow": "data", "config": "test", "seconds": 9.0, "error": None, "stages": stages, "model": None}
    return Session(store=store, planning=False, run=RUN, steps=steps, warn=notes.append), run


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What Prefect and MLflow were given."""
    given: list[tuple[str, Any]] = []

    def keep(what: str) -> Any:
        return lambda value, **more: given.append((more.get("key", what), value))

    prefect = SimpleNamespace(create_link_artifact=keep("link"), create_table_artifact=keep("table"))
    monkeypatch.setitem(sys.modules, "prefect.artifacts", prefect)  # the real one takes seconds to import
    monkeypatch.setattr(tracking, "log_to_parent", lambda path: given.append(("mlflow", path)))
    return given


def test_prefect_gets_a_link_and_tables_and_mlflow_the_file(tmp_path: Path, sent: list[tuple[str, Any]]):
    notes: list[str] = []
    path = publish_run_report(*finished(make_store(tmp_path), notes), [])
    assert path == tmp_path / "runs" / f"{RUN}.html"
    assert notes == []
    given = dict(sent)
    assert given["mlflow"] == path
    assert given["report"] == (tmp_path / "runs" / f"{RUN}.html").as_uri()
    assert [row["stage"] for row in given["funnel"]][:3] == ["ingest", "extract", "signals"]


def test_a_failed_run_has_one_that_says_so(tmp_path: Path, sent: list[tuple[str, Any]]):
    session, run = finished(make_store(tmp_path), [])
    path = publish_run_report(
        session, run | {"error": "sft: out of memory", "stopped": {"stage": "sft", "key": "c/sft-0"}}, []
    )
    assert path
    assert '<h1 class="verdict bad">Failed in sft</h1>' in path.read_text()


def test_a_server_that_is_away_is_a_note(tmp_path: Path, sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> None:
        raise ConnectionError("MLflow is away")

    monkeypatch.setattr(tracking, "log_to_parent", refuse)
    notes: list[str] = []
    path = publish_run_report(*finished(make_store(tmp_path), notes), [])
    assert path
    assert path.is_file()
    assert notes == [f"{path} is in this folder alone (ConnectionError: MLflow is away)"]


def test_a_report_that_cannot_be_made_is_a_note(tmp_path: Path, sent: list[tuple[str, Any]]):
    notes: list[str] = []
    session, run = finished(make_store(tmp_path), notes)
    del run["flow"]
    assert publish_run_report(session, run, []) is None
    assert notes == ["no report of this run (KeyError: 'flow'); `gristmill report` tries again"]
    assert sent == []
