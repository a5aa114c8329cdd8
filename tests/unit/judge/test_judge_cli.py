"""`gristmill judge` prints what a judge is worth, and asks nothing twice."""

import json
from pathlib import Path

import pytest
from fake_judge import FakeJudge

from flows.cli.main import app
from gristmill.errors import ConfigError


def judge(*arguments: object) -> int:
    return app(["judge", *map(str, arguments)], exit_on_error=False, result_action="return_value")


def test_a_judge_is_measured_and_the_replies_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pairs, references, config = tmp_path / "pairs.jsonl", tmp_path / "references.jsonl", tmp_path / "judge.yaml"
    rows = [{"prompt": f"Question {number}", "chosen": "yes", "rejected": "no"} for number in range(12)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = [{"prompt": f"Sum {number}", "reference": f"It is exactly {number}."} for number in range(12)]
    references.write_text("".join(json.dumps(row) + "\n" for row in known))
    arguments = (config, "--out", tmp_path / "out", "--pairs", pairs, "--references", references, "--count", 9)
    with FakeJudge(lambda asked: "Verdict: A") as fake:
        settings = {"kind": "endpoint", "url": fake.url, "model": "fake", "allow_private": True}
        config.write_text(json.dumps({"judge": settings}))
        assert judge(*arguments) == 0
        asked = len(fake.requests)
        assert judge(*arguments, "--json") == 0
        assert asked == len(fake.requests) == 2 * (9 + 9 + 9)
    printed = capsys.readouterr().out
    assert "It prefers the first answer, whichever that is." in printed
    said = json.loads((tmp_path / "out" / "report.json").read_text())
    assert said == json.loads(printed.splitlines()[-1])
    assert {each["trait"] for each in said["findings"] if each["found"]} == {"position", "wrong_answers"}
    assert said["asked"]["remembered"] == asked


def test_without_rows_there_is_nothing_to_ask(tmp_path: Path):
    config = tmp_path / "judge.yaml"
    config.write_text("judge: {kind: endpoint, url: 'https://x.org', model: m}\n")
    with pytest.raises(ConfigError, match="nothing to ask"):
        judge(config, "--out", tmp_path / "out")
