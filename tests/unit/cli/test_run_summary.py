"""What a run leaves behind for the commands that come after it."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run as module
from flows.cli.run import remembered, summary, work
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
