"""The stage `preferences` as a run starts it: a process of its own, stopped by a judge that goes away, and resumed."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from fake_judge import Asked, FakeJudge  # pyright: ignore[reportMissingImports]
from tiny_chat_model import OFTEN, write_examples, write_tiny_model  # pyright: ignore[reportMissingImports]

from gristmill.artifacts import Checkpoint, Examples
from gristmill.judge.config import EndpointJudge, FeedbackConfig
from gristmill.schema import Resources
from tasks.preferences import preferences

KEY = "sk-test-0123456789abcdef"


def shorter(asked: Asked) -> str:
    return "Verdict: A" if len(asked["answer_A"]) < len(asked["answer_B"]) else "Verdict: B"


@pytest.mark.integration
def test_a_judge_that_goes_away_stops_the_stage_which_then_goes_on_and_the_key_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    root = tmp_path / "store"
    model = Checkpoint("checkpoint/tiny", write_tiny_model(root / "checkpoint" / "tiny", ends=OFTEN))
    examples = Examples("examples/made", write_examples(root / "examples" / "made"))
    out = root / "examples" / "draft"
    out.mkdir()
    with FakeJudge(shorter, fault=lambda number: "401" if number >= 6 else "") as fake:
        judge = EndpointJudge(
            url=fake.url, model="fake", key_env="JUDGE_API_KEY", allow_private=True, tries=1, concurrency=1
        )
        config = FeedbackConfig(judge=judge, answer_tokens=48, max_prompts=10, held_out=0.4)

        def run():
            return preferences.function(
                out, examples=examples, config=config, model=model, resources=Resources(threads=1, device="cpu")
            )

        with pytest.raises(RuntimeError, match=r"fake at 127\.0\.0\.1: it answers 401") as stopped:
            run()
        assert not (out / "preferences.jsonl").exists()
        fake.fault = lambda number: ""
        first = len(fake.requests)
        report = run()
        judged = [json.loads(line) for line in (out / "judge" / "judged.jsonl").read_text().splitlines()]
        assert first >= 7
        assert len(fake.requests) - first == 2 * len(judged) - 6
        assert all(headers["authorization"] == f"Bearer {KEY}" for _, headers in fake.requests)
    assert report.rows_out + sum(report.dropped.values()) == report.rows_in
    assert KEY not in str(stopped.value)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "run.yaml" for path in written)
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
