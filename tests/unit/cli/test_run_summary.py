"""What a run leaves behind for the commands that come after it."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run as module
from flows.cli import workspace
from flows.cli.results import show_status
from flows.cli.run import remembered, summary, work
from flows.cli.scope import find_run
from gristmill.config import PipelineConfig
from gristmill.store import ArtifactStore
from tasks.stage import Session


def test_a_run_remembers_its_opt_out_lists_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lists = {"opt_out": {"lists": ["opt_out.txt", "https://a.org/list.txt"]}}
    ingest = {"sources": [{"kind": "python_docs", "name": "docs"}]}
    config = PipelineConfig.model_validate({"ingest": ingest, "filter": lists})
    done = Session(store=ArtifactStore(tmp_path / "home"), planning=False, run="nightly-20260101-000000")
    left = summary("data", config, "nightly", done, 1.0)
    assert left["opt_out_lists"] == [str(tmp_path / "opt_out.txt"), "https://a.org/list.txt"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The error of each report that is written, wherever; no server is there."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    errors: list[str | None] = []
    for name in ("publish_run_report", "write_run_report"):
        monkeypatch.setattr(module, name, lambda done, run, earlier: errors.append(run["error"]))
    return errors


def fails_in_the_flow(running: Session, config: PipelineConfig, remember: Any) -> None:
    work("data", config, "nightly", running, remember)


def fails_before(running: Session, config: PipelineConfig, remember: Any) -> None:
    raise ValueError("the mill stands")


@pytest.mark.parametrize("run", [fails_in_the_flow, fails_before])
def test_a_failure_is_reported_once_wherever_it_happens(
    tmp_path: Path,
    written: list[str | None],
    run: Callable[[Session, PipelineConfig, Any], None],
    monkeypatch: pytest.MonkeyPatch,
):
    def flow(config: PipelineConfig) -> None:
        raise ValueError("the mill stands")

    monkeypatch.setitem(module.FLOWS, "data", flow)
    monkeypatch.setattr(module, "alive", lambda home, flow_run: nullcontext())  # it is no run of Prefect
    config = PipelineConfig.model_validate({"ingest": {"sources": [{"kind": "python_docs", "name": "docs"}]}})
    running = Session(store=ArtifactStore(tmp_path), planning=False, run="nightly-20260101-000000")
    with (
        pytest.raises(ValueError, match="the mill stands"),
        remembered("data", config, "nightly", running) as remember,
    ):
        run(running, config, remember)
    assert written == ["the mill stands"]
    assert json.loads((tmp_path / "last_run.json").read_text())["error"] == "the mill stands"


def test_two_runs_that_began_in_one_second_have_two_names(tmp_path: Path, written: list[str | None]):
    config = PipelineConfig.model_validate({"ingest": {"sources": [{"kind": "python_docs", "name": "docs"}]}})
    names = ["nightly-20261231-235959", "nightly-20270101-000000", "nightly-20270101-000001"]
    crawl, train, late = (Session(store=ArtifactStore(tmp_path), planning=False, run=names[0]) for _ in range(3))
    with remembered("crawl", config, "nightly", crawl) as of_crawl:
        with remembered("data", config, "nightly", train) as of_train:
            of_train()
        of_crawl()
    with remembered("pretrain", config, "nightly", late) as of_late:
        of_late()
    assert [each.run for each in (crawl, train, late)] == names
    found = [json.loads((tmp_path / "runs" / f"{name}.json").read_text()) for name in names]
    assert [(run["run"], run["flow"]) for run in found] == list(zip(names, ["crawl", "data", "pretrain"], strict=True))


def test_a_run_that_failed_and_is_tried_again_keeps_its_name(tmp_path: Path, written: list[str | None]):
    config = PipelineConfig.model_validate({"ingest": {"sources": [{"kind": "python_docs", "name": "docs"}]}})
    for _ in range(2):
        running = Session(store=ArtifactStore(tmp_path), planning=False, run="nightly-20260101-000000")
        with pytest.raises(OSError, match="away"), remembered("data", config, "nightly", running):
            raise OSError("away")
        assert running.run == "nightly-20260101-000000"


@pytest.mark.parametrize("content", ["", '{"run": "ni'])
def test_what_was_left_of_a_summary_is_named_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    whole = {"run": "nightly-20260101-000000", "stages": []}
    workspace.write_json(tmp_path / "runs" / "nightly-20260101-000000.json", whole)
    (tmp_path / "runs" / "nightly-20260102-000000.json").write_text(content)
    assert list(workspace.runs()) == [whole]
    assert workspace.earlier_recipes() == {}
    assert f"{tmp_path}/runs/nightly-20260102-000000.json is no run's summary" in capsys.readouterr().err
    (tmp_path / "last_run.json").write_text(content)
    for ask in (lambda: show_status(tmp_path, as_json=True), lambda: find_run(None)):
        with pytest.raises(ValueError, match=r"last_run\.json is no run's summary .* delete it"):
            ask()


def test_a_summary_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    monkeypatch.setattr(workspace.os, "fsync", lambda descriptor: done.append("synced"))
    monkeypatch.setattr(Path, "rename", lambda path, target: done.append("renamed"))
    workspace.write_json(tmp_path / "run.json", {})
    assert done == ["synced", "renamed"]
