"""trace, forget and report as a user types them: what is printed where, and the exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from audited_store import doc_id, make_store

from flows.cli import main as front_desk
from flows.cli.trace import lines_of
from gristmill.trace import Event, Span, Story

# the command reads sys.argv itself, which is what is tested
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")


@pytest.fixture
def gristmill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """gristmill("trace", "x", code=1): run a command on the store; returns (stdout, stderr)."""
    make_store(tmp_path / "home")
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
        with pytest.raises(SystemExit) as stopped:
            front_desk.main()
        printed = capsys.readouterr()
        assert stopped.value.code == code, printed
        return printed.out, printed.err

    return run


def test_trace_tells_the_story_of_the_last_run(gristmill: Any):
    out, _ = gristmill("trace", "https://a.example/one")
    assert out.startswith("run test-20260101-000000: 2 captures of https://a.example/one")
    assert "→ 8 tokens in 2 rows of train" in out
    assert "dropped by duplicate_url" in out
    told = json.loads(gristmill("trace", doc_id("short"), "--json")[0])
    assert told["schema_version"] == 1
    assert told["pages"][0]["end"] == "dropped by filter: min_words, measured 2, kept: 3"


def test_trace_has_a_line_for_each_copy_of_a_page_that_is_seen_several_times():
    place = {"artifact": "tokens/tokenize-0", "split": "train"}
    spans = [
        Span(**place, file="train/tokens-00000.npy", row_in_file=1, row=1, start=3, tokens=2, continuation=False),
        Span(**place, file="train/tokens-00000.npy", row_in_file=2, row=2, start=0, tokens=4, continuation=True),
        Span(**place, file="train/tokens-00000.npy", row_in_file=5, row=5, start=1, tokens=4, continuation=False),
        Span(**place, file="train/tokens-00001.npy", row_in_file=0, row=6, start=0, tokens=2, continuation=True),
    ]
    mixed = Event("mix", "documents/mix-0", "kept", measured={"epochs": 2, "bucket": 1})
    page = {"url": "https://a.example/", "doc_id": "0", "date": "2026", "source": "web", "license": "CC0"}
    lines = [" ".join(line.split()) for line in lines_of(Story(page, [mixed], spans, []))]
    assert lines[3:] == [
        "mix kept, and seen 2 times in training documents/mix-0",
        "tokenize train/tokens-00000.npy rows 1 to 2, from token 3 to token 3 tokens/tokenize-0",
        "tokenize train/tokens-00000.npy row 5, from token 1 to token 4 tokens/tokenize-0",
        "tokenize train/tokens-00001.npy row 0, from token 0 to token 1 tokens/tokenize-0",
        "→ 12 tokens in 4 rows of train, where it stands 2 times",
    ]


def test_trace_prints_no_character_that_steers_a_terminal(gristmill: Any):
    out, _ = gristmill("trace", doc_id("hostile"))
    assert all(char.isprintable() or char == "\n" for char in out)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["trace", "https://a.example/nowhere"], 1, "did you mean"),
        (["trace", "x", "--run", "other"], 2, "no run of"),
        (["trace", "x", "--run", "test", "--artifact", "documents/dedup-0"], 2, "exclude each other"),
        (["trace", "x", "--artifact", "documents/dedup-000000000000"], 1, "no artifact"),
        (["forget"], 2, "nothing to forget"),
        (["forget", "--domain", "a.example", "--list", "opt_out.txt"], 2, "--yes"),
        (["report", "data", "--run", "other"], 2, "no run of"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_sentence_with_its_exit_code(
    gristmill: Any, arguments: list[str], code: int, says: str
):
    out, err = gristmill(*arguments, code=code)
    assert out == ""
    assert says in err
    assert "Traceback" not in err


def test_forget_looks_without_writing_and_writes_without_asking(gristmill: Any, tmp_path: Path):
    out, _ = gristmill("forget", "--domain", "a.example", "--dry-run")
    assert "4 pages match" in out
    assert "registered model gristmill version 1" in out
    assert not (tmp_path / "opt_out.txt").exists()
    out, _ = gristmill(
        "forget", "--domain", "a.example", "--list", "opt_out.txt", "--yes", "--reason", "a letter", "--json"
    )
    answer = json.loads(out)
    assert answer["added"] == ["domain:a.example"]
    assert [model["version"] for model in answer["models"]] == ["1"]
    assert answer["registry_fault"]
    line = (tmp_path / "opt_out.txt").read_text()
    assert line.startswith("domain:a.example  # 2")
    assert line.endswith(" a letter\n")


def test_forget_writes_to_the_list_that_the_last_run_had_from_any_folder(
    gristmill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    theirs = tmp_path / "project" / "opt_out.txt"
    last = tmp_path / "home" / "last_run.json"
    last.write_text(json.dumps(json.loads(last.read_text()) | {"opt_out_lists": ["https://a.org/list", str(theirs)]}))
    monkeypatch.chdir(tmp_path / "home")
    _, err = gristmill("forget", "--domain", "a.example", "--yes", code=2)
    assert f"there is no {theirs}" in err
    theirs.parent.mkdir()
    theirs.touch()
    out, _ = gristmill("forget", "--domain", "a.example", "--yes")
    assert f"added to {theirs}: domain:a.example" in out
    assert theirs.read_text().startswith("domain:a.example  # 2")
    assert not list((tmp_path / "home").glob("opt_out*"))


def test_forget_asks_a_person_and_writes_only_after_a_yes(
    gristmill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Terminal:
        answers = iter(["no\n", "y\n"])

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return next(self.answers)

    monkeypatch.setattr(sys, "stdin", Terminal())
    gristmill("forget", "--domain", "a.example", "--list", "opt_out.txt", code=1)
    assert not (tmp_path / "opt_out.txt").exists()
    gristmill("forget", "--domain", "a.example", "--list", "opt_out.txt")
    assert (tmp_path / "opt_out.txt").exists()


def test_report_writes_one_file_and_prints_where(gristmill: Any, tmp_path: Path):
    out, _ = gristmill("report", "data", "--out", "report.html")
    assert out == "report.html\n"
    assert "<!doctype html>" in (tmp_path / "report.html").read_text()
    out, _ = gristmill("report", "data")
    assert Path(out.strip()).name == "test-20260101-000000.data.html"
    facts = json.loads(gristmill("report", "data", "--json")[0])
    assert (facts["schema_version"], facts["pages"], facts["left"]) == (1, 8, 4)
