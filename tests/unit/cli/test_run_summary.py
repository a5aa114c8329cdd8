"""What a run leaves behind for the commands that come after it."""

from pathlib import Path

import pytest

from flows.cli.run import summary
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
