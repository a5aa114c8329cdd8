"""What a hostile name can do where it is printed or written down: nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from flows.cli.servers import HOST, MLFLOW, PREFECT
from gristmill.promotion.journal import Journal

HOSTILE = "x\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


@pytest.mark.parametrize(
    "arguments", [["plan", "--config", HOSTILE], ["artifacts", "show", HOSTILE], ["costs", HOSTILE]]
)
def test_an_error_prints_no_character_that_steers_a_terminal(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr()
    assert ended.value.code in (1, 2)
    assert "owned" in said.err
    assert all(char.isprintable() or char == "\n" for char in said.out + said.err)


def test_a_name_with_line_breaks_is_one_line_of_a_log(tmp_path: Path):
    journal, name = Journal(tmp_path, "m"), 'ann\n{"event": "done", "by": "nobody"}\r\n'
    journal.append("judged", by=name)
    (line,) = [line for line in journal.path.read_text().splitlines() if line]
    assert json.loads(line)["by"] == name
    assert [entry["event"] for entry in journal.read()] == ["judged"]


def test_our_servers_listen_on_loopback_and_answer_to_their_own_names():
    assert HOST == "127.0.0.1"
    for server in (PREFECT, MLFLOW):
        assert server.arguments[server.arguments.index("--host") + 1] == HOST
    allowed = MLFLOW.arguments[MLFLOW.arguments.index("--allowed-hosts") + 1]
    assert allowed == f"{HOST}:{{port}},localhost:{{port}}"
    assert PREFECT.environment["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert "*" not in PREFECT.environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


def test_nothing_writes_csv_whose_cells_a_spreadsheet_would_run():
    found = subprocess.run(
        ["grep", "-rnE", r"csv\.(writer|DictWriter)|\.to_csv\(|write_csv\(", "gristmill", "flows", "tasks"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert [line for line in found.stdout.splitlines() if ".py:" in line] == []
