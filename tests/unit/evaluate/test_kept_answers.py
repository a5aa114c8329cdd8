"""An evaluation that is killed between two benchmarks goes on with the second, and ends as it would have."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gristmill.evaluate import harness
from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.kept_answers import KeptAnswers
from gristmill.evaluate.run import run_evaluate
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    rows = [{"good": f"The list {n} is in order.", "bad": f"The list {n} are in order."} for n in range(4)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    item = {
        "kind": "harness",
        "data": {"path": str(tmp_path / "items.jsonl")},
        "doc_to_text": "",
        "doc_to_choice": "{{[good, bad]}}",
        "doc_to_target": "0",
    }
    return EvaluateConfig.model_validate(
        {"samples": [], "benchmarks": [{"name": "first", **item}, {"name": "second", **item}]}
    )


def test_what_was_answered_is_not_asked_again(
    config: EvaluateConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def answer(*given: Any, through: Any = harness.answer_benchmark) -> Any:
        asked.append(given[2].name)
        if asked == ["first", "second"]:
            raise KeyboardInterrupt
        return through(*given)

    monkeypatch.setattr(harness, "answer_benchmark", answer)
    outs = tmp_path / "stopped", tmp_path / "straight"
    for out in outs:
        out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_evaluate(tiny_model, None, None, None, outs[0], config, CPU)
    reports = [run_evaluate(tiny_model, None, None, None, out, config, CPU) for out in outs]
    assert asked == ["first", "second", "second", "first", "second"]
    assert reports[0] == reports[1]
    assert (outs[0] / "items.parquet").read_bytes() == (outs[1] / "items.parquet").read_bytes()
    assert {path.name for path in outs[0].iterdir()} == {path.name for path in outs[1].iterdir()}
    assert not (outs[0] / ".done").exists()


def test_answers_to_another_question_are_not_taken(
    config: EvaluateConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr("gristmill.evaluate.kept_answers.KeptAnswers.forget", lambda kept: None)
    whole = run_evaluate(tiny_model, None, None, None, out, config, CPU)
    limited = run_evaluate(tiny_model, None, None, None, out, config.model_copy(update={"limit": 2}), CPU)
    assert (whole.metrics["first_n"], limited.metrics["first_n"]) == (4, 2)


def test_answers_of_another_model_are_not_taken(config: EvaluateConfig, tiny_model: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(tiny_model, folder)
    (second / "chat_template.jinja").write_text("{{ messages }}")
    answered, new = (harness.Answered([], {"n": float(n)}, {}, {}) for n in range(2))
    assert KeptAnswers(tmp_path, first, config).of("a", lambda: answered) == answered
    assert KeptAnswers(tmp_path, first, config).of("a", lambda: new) == answered
    assert KeptAnswers(tmp_path, second, config).of("a", lambda: new) == new


def test_half_a_file_is_none(config: EvaluateConfig, tiny_model: Path, tmp_path: Path):
    kept, answered = KeptAnswers(tmp_path, tiny_model, config), harness.Answered([], {}, {}, {})
    kept.of("a", lambda: answered)
    path = kept.folder / "a.json"
    path.write_text(path.read_text()[:-1])
    assert KeptAnswers(tmp_path, tiny_model, config).of("a", lambda: answered) == answered
