"""`gristmill report RUN` and `gristmill compare A B` as a user types them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import RUN, make_run

from flows.cli import main as front_desk

LATER = "night-20260103-030000"


@pytest.fixture
def gristmill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """gristmill("report", RUN, code=0): run a command on a store with two runs; returns (stdout, stderr)."""
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "GRISTMILL_STORE"):
        monkeypatch.delenv(variable, raising=False)
    make_run(tmp_path / "home").remember()
    make_run(tmp_path / "home", beta=0.2, name=LATER, passed=False).remember()

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
        with pytest.raises(SystemExit) as stopped:
            front_desk.main()
        printed = capsys.readouterr()
        assert stopped.value.code == code, printed
        return printed.out, printed.err

    return run


def test_report_writes_one_file_beside_the_runs_record(gristmill: Any, tmp_path: Path):
    out, err = gristmill("report", "night-20260102")
    path = tmp_path / "home" / "runs" / f"{RUN}.html"
    assert out == f"{path}\n"
    assert err.startswith("Promoted: miller version 7 is champion")
    assert "<!doctype html>" in path.read_text()


def test_report_without_a_name_is_of_the_last_run_and_compares_it_with_the_one_before(gristmill: Any):
    out, _ = gristmill("report", "--json")
    facts = json.loads(out)
    assert (facts["schema_version"], facts["run"]["run"], facts["before"]) == (1, LATER, RUN)
    assert facts["verdict"]["title"] == "Not promoted: miller version 7"
    assert [each["change"]["key"] for each in facts["changed"]] == ["align.beta"]
    earlier, _ = gristmill("report", RUN, "--json")
    assert json.loads(earlier)["before"] == ""


def test_report_of_a_run_that_is_not_there_names_those_that_are(gristmill: Any):
    _, err = gristmill("report", "nobody", code=2)
    assert f"the newest are {LATER}, {RUN}" in err


def test_compare_prints_a_table_and_writes_one_file(gristmill: Any, tmp_path: Path):
    out, _ = gristmill("compare", RUN, LATER)
    path = tmp_path / "home" / "runs" / f"{RUN}-beside-{LATER}.html"
    assert out.splitlines()[-1] == str(path)
    assert "q_accuracy" in out
    assert "q, 4 same items (0 left out): +0.0000" in out
    assert "align  align.beta: 0.2 → 0.1" in out
    assert "<!doctype html>" in path.read_text()


def test_compare_takes_artifacts_and_gives_json(gristmill: Any, tmp_path: Path):
    (evaluation,) = [path.parent for path in (tmp_path / "home" / "checkpoint").glob("sft-*/record.json")][:1]
    first, _ = gristmill("compare", f"checkpoint/{evaluation.name}", RUN, "--json")
    found = json.loads(first)
    assert found["items"][0]["only_second"] == 2
    assert found["items"][0]["difference"]["estimate"] == -0.25


def test_compare_refuses_what_was_not_evaluated(gristmill: Any, tmp_path: Path):
    (pretrained,) = (tmp_path / "home" / "checkpoint").glob("pretrain-*")
    _, err = gristmill("compare", f"checkpoint/{pretrained.name}", RUN, code=1)
    assert "was not evaluated" in err


def test_a_version_that_another_tool_registered_is_a_sentence(gristmill: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flows.cli.scope.use_own_servers", lambda: None)
    monkeypatch.setattr("tasks.registry.model_versions", lambda name: [{"version": "3", "tags": {"theirs": "1"}}])
    for tag, command in {
        "evaluation": ("compare", "theirs/3", RUN),
        "artifact": ("trace", "https://a.example/", "--model", "theirs/3"),
    }.items():
        _, err = gristmill(*command, code=1)
        assert f"theirs/3: this version has no tag gristmill.{tag}, so gristmill did not register it" in err
        assert "Traceback" not in err
