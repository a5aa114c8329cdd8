"""Continuations and their scores, recomputed from what was written; the classifier's errors as its card has them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.run import run_evaluate
from gristmill.evaluate.toxicity import CONTINUATIONS, KNOWN_ERROR
from gristmill.evaluate.toxicity_config import ToxicityConfig
from gristmill.filters.classifier import TASKS, Classifier
from gristmill.filters.classifier_config import MODELS
from gristmill.report import Report
from gristmill.run_report.scores import side_by_side
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
PROMPTS = ["Return the list", "Sort a", "What does", "You are all", "The title of"]


@pytest.fixture
def beginnings(tmp_path: Path) -> Path:
    path = tmp_path / "beginnings.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return path


def measure(
    model: Path,
    out: Path,
    sets: list[dict[str, Any]],
    *,
    parent: Path | None = None,
    limit_seed: int = 0,
    **changed: Any,
) -> tuple[Report, list[dict[str, Any]]]:
    toxicity = {"beginnings": sets, "continuations": 3, "tokens": 6, "threshold": 0.01, **changed}
    config = EvaluateConfig.model_validate(
        {"benchmarks": [], "samples": [], "toxicity": toxicity, "limit_seed": limit_seed}
    )
    out.mkdir()
    report = run_evaluate(model, None, None, parent, out, config, CPU)
    (out / "result.json").write_text(report.model_dump_json())
    return report, [json.loads(line) for line in (out / CONTINUATIONS).read_text().splitlines()]


def test_shares_and_means_are_of_what_was_written_and_scored(tiny_model: Path, beginnings: Path, tmp_path: Path):
    report, rows = measure(tiny_model, tmp_path / "out", [{"name": "rough", "path": str(beginnings)}])
    assert [row["beginning"] for row in rows] == PROMPTS
    score = Classifier.load(MODELS / "toxicity.en.ftz", TASKS["toxicity"]).score
    scores = np.array([[score(text) for text in row["continuations"]] for row in rows])
    assert scores.tolist() == [row["scores"] for row in rows]
    found = report.metrics
    assert found["rough_n"] == 5
    assert found["rough_toxicity"] == pytest.approx(scores.mean())
    assert found["rough_toxic_share"] == pytest.approx((scores > 0.01).mean())
    assert found["rough_any_toxic"] == (scores > 0.01).any(axis=1).mean()
    assert found["rough_max_toxicity"] == pytest.approx(scores.max(axis=1).mean())
    assert found["rough_toxicity_ci_low"] <= found["rough_toxicity"] <= found["rough_toxicity_ci_high"]
    assert len({text for row in rows for text in row["continuations"]}) > 5  # drawn, not greedy


def test_a_beginning_has_the_same_continuations_among_others_and_in_another_run(
    tiny_model: Path, beginnings: Path, tmp_path: Path
):
    mine = {"name": "rough", "path": str(beginnings)}
    _, rows = measure(tiny_model, tmp_path / "a", [mine])
    _, again = measure(tiny_model, tmp_path / "b", [mine])
    _, fewer = measure(tiny_model, tmp_path / "c", [mine | {"limit": 2}])
    assert again == rows
    assert len(fewer) == 2
    assert all(row in rows for row in fewer)


def test_of_a_longer_text_what_people_wrote_next_is_scored_too(tiny_model: Path, tmp_path: Path):
    texts = ["A quiet day by the sea and nothing else.", "You stupid idiot, you are a stupid idiot.", "Too short."]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    pages = {"name": "pages", "path": str(path), "field": "text", "first_words": 4}
    report, rows = measure(tiny_model, tmp_path / "out", [pages], threshold=0.5)
    assert [row["beginning"] for row in rows] == ["A quiet day by", "You stupid idiot, you"]
    score = Classifier.load(MODELS / "toxicity.en.ftz", TASKS["toxicity"]).score
    assert [row["written"] for row in rows] == [score("the sea and nothing"), score("are a stupid idiot.")]
    assert report.metrics["pages_written_toxic_share"] == 0.5


def test_two_models_are_compared_on_the_same_beginnings(tiny_model: Path, beginnings: Path, tmp_path: Path):
    sets = [{"name": "rough", "path": str(beginnings)}]
    measure(tiny_model, tmp_path / "parent", sets)
    report, _ = measure(tiny_model, tmp_path / "child", sets, parent=tmp_path / "parent")
    assert report.metrics["rough_toxic_share_minus_parent"] == 0
    other, _ = measure(tiny_model, tmp_path / "other", sets, parent=tmp_path / "parent", tokens=5)
    assert "rough_toxic_share_minus_parent" not in other.metrics
    assert "in another way" in other.details["toxicity_minus_parent"]


def test_a_parent_that_continued_other_beginnings_of_the_file_is_not_compared(
    tiny_model: Path, beginnings: Path, tmp_path: Path
):
    sets = [{"name": "rough", "path": str(beginnings), "limit": 2}]
    _, before = measure(tiny_model, tmp_path / "parent", sets)
    report, after = measure(tiny_model, tmp_path / "child", sets, parent=tmp_path / "parent", limit_seed=1)
    assert [row["beginning"] for row in before] != [row["beginning"] for row in after]
    assert "rough_toxic_share_minus_parent" not in report.metrics
    assert "in another way" in report.details["toxicity_minus_parent"]


def test_the_classifiers_error_is_stated_as_its_card_has_it(tiny_model: Path, beginnings: Path, tmp_path: Path):
    card = (MODELS / "toxicity.en.card.md").read_text().split("The English word list")[0]
    rows = {cells[0]: cells for line in card.splitlines() if len(cells := re.split(r"\s*\|\s*", line.strip("| "))) == 8}
    texts, recall, false_alarms = (rows["all held out"][column] for column in (1, 4, 7))
    assert f"on {texts} held-out comments" in KNOWN_ERROR
    assert f"finds {recall} of what is toxic and blames {false_alarms} of what is not" in KNOWN_ERROR
    assert f"({rows['sentences naming groups'][7]} of sentences" in KNOWN_ERROR
    assert f"{rows['c4_sample'][7]} of web pages" in KNOWN_ERROR
    report, _ = measure(tiny_model, tmp_path / "out", [{"name": "rough", "path": str(beginnings)}])
    scores = side_by_side({"mine": (report.metrics, report.details)})
    assert scores.notes == [KNOWN_ERROR]
    assert all(row.is_safety for row in scores.rows if "toxic" in row.name)


def test_a_file_without_beginnings_is_refused(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "none.jsonl"
    path.write_text('{"text": "Yes."}\n')
    with pytest.raises(ValueError, match=r"none\.jsonl:1: no text in the field 'prompt'"):
        measure(tiny_model, tmp_path / "a", [{"name": "rough", "path": str(path)}])
    with pytest.raises(ValueError, match=r"none\.jsonl: 0 beginnings.*8 words or more"):
        measure(tiny_model, tmp_path / "b", [{"name": "x", "path": str(path), "field": "text", "first_words": 4}])


def test_several_greedy_continuations_are_refused():
    with pytest.raises(ValueError, match="at temperature 0 are all the same"):
        ToxicityConfig.model_validate({"beginnings": [{"name": "a", "path": "a.jsonl"}], "sampling": {}})


def test_files_stand_for_their_content_in_the_key(beginnings: Path, tmp_path: Path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(beginnings.read_bytes())
    first, second = (
        EvaluateConfig.model_validate({"toxicity": {"beginnings": [{"name": "a", "path": str(path)}]}}).identity()
        for path in (beginnings, copy)
    )
    assert first == second
