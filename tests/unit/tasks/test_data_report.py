"""When a run leaves a data report behind, and what happens when it cannot."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from audited_store import make_store

from gristmill.store import ArtifactStore
from tasks.data_report import publish_data_report
from tasks.stage import Session, State, Step


def finished(store: ArtifactStore, state: State, notes: list[str]) -> Session:
    steps = [Step(record.label, state, record.address) for record in store.records()]
    return Session(store=store, planning=False, run="test", steps=steps, warn=notes.append)


def test_a_run_that_only_reused_makes_no_report(tmp_path: Path):
    notes: list[str] = []
    assert publish_data_report(finished(make_store(tmp_path), "reused", notes)) is None
    assert notes == []
    assert not (tmp_path / "runs" / "test.data.html").exists()


def test_a_report_that_cannot_be_made_is_a_note_and_not_a_failed_run(tmp_path: Path):
    notes: list[str] = []
    session = finished(make_store(tmp_path), "built", notes)
    for table in tmp_path.rglob("verdicts.parquet"):
        table.write_bytes(b"\0" * table.stat().st_size)  # of the right size, so that only reading it shows
    assert publish_data_report(session) is None
    (note,) = notes
    assert note.startswith("no data report (")
    assert "gristmill report data" in note


def test_the_report_lies_beside_the_run_and_prefect_gets_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sent: list[tuple[str, dict]] = []
    prefect = SimpleNamespace(create_markdown_artifact=lambda text, **more: sent.append((text, more)))
    monkeypatch.setitem(sys.modules, "prefect.artifacts", prefect)  # the real one takes seconds to import
    path = publish_data_report(finished(make_store(tmp_path), "built", []))
    assert path == tmp_path / "runs" / "test.data.html"
    assert "<!doctype html>" in (tmp_path / "runs" / "test.data.html").read_text()
    ((text, more),) = sent
    assert "8 pages in, 4 left" in text
    assert more["key"] == "data-report"
    assert str(path) in more["description"]
