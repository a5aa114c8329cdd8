"""A tiny model answers several times, and what is said of its answers is what they show."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny_chat_model import write_tiny_model

from gristmill.align.online.config import CodeReward, ExactReward
from gristmill.align.online.prompts_config import JsonlPrompts
from gristmill.config import PipelineConfig
from gristmill.schema import Resources
from gristmill.test_time.config import TestTimeConfig, ThinkingConfig
from gristmill.test_time.run import run_test_time

RESOURCES = Resources(threads=1, device="cpu")
WORDS = [f"{word} {number}" for word in ("list", "string", "file", "path") for number in range(5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def measured(model: Path, folder: Path, references: dict[str, str], **settings: Any) -> tuple[list[dict], list[dict]]:
    """Answers and points of the curves, to prompts of which all are held out."""
    folder.mkdir()
    # the prompt alone decides whether a row is held out, so other references leave the prompts as they are
    rows = [{"id": references.get(word, "never said"), "prompt": word} for word in WORDS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = TestTimeConfig(
        prompts=JsonlPrompts(path=folder / "rows.jsonl", reference="{id}", held_out=0.5),
        right=ExactReward(),
        samples=[1, 2, 4],
        choose=["majority"],
        max_new_tokens=4,
        **settings,
    )
    report = run_test_time(model, None, None, folder, config, RESOURCES)
    answers = pq.read_table(folder / "answers.parquet").to_pylist()
    assert report.rows_out == len(answers)
    return answers, json.loads((folder / "curves.json").read_text())


def test_the_curves_say_what_the_answers_show(model: Path, tmp_path: Path):
    said, _ = measured(model, tmp_path / "first", {})
    known = {row["prompt"]: row["answer"].strip() for row in said[::8]}  # an answer to every second prompt is right
    answers, points = measured(model, tmp_path / "second", known)
    assert [row["answer"] for row in answers] == [row["answer"] for row in said]
    by_prompt = defaultdict(list)
    for number, row in enumerate(answers):
        by_prompt[number // 4].append(row["right"])
        assert row["right"] == (row["answer"].strip() == known.get(row["prompt"], "never said"))
    point = {(each["method"], each["spent"]): each for each in points}
    share = sum(map(sum, by_prompt.values())) / len(answers)
    assert 0 < share < 1
    assert point["any", 1]["accuracy"] == pytest.approx(share)
    assert point["majority", 1]["accuracy"] == pytest.approx(share, abs=0.05)
    assert point["any", 4]["accuracy"] == pytest.approx(sum(map(any, by_prompt.values())) / len(by_prompt))
    assert point["any", 4]["tokens"] == pytest.approx(4 * sum(row["tokens"] for row in answers) / len(answers))
    assert (tmp_path / "second" / "test_time.svg").stat().st_size > 1000


def test_thoughts_are_cut_at_their_budget(model: Path, tmp_path: Path):
    thinking = ThinkingConfig(budgets=[3, 6], answer_after=" so")
    _, points = measured(model, tmp_path / "run", {}, thinking=thinking)
    thought = [each for each in points if each["method"] == "thinking"]
    assert [each["spent"] for each in thought] == [0, 3, 6]
    assert thought[0]["tokens"] <= 4 < thought[1]["tokens"] <= 3 + 4 < thought[2]["tokens"] <= 6 + 4


def test_what_can_not_be_chosen_is_refused(model: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="have no majority"):
        TestTimeConfig(right=CodeReward())
    with pytest.raises(ValueError, match="must start with 1 and rise"):
        TestTimeConfig(samples=[2, 4])
    with pytest.raises(ValueError, match="no reward model was given"):
        run_test_time(model, None, None, tmp_path, TestTimeConfig(), RESOURCES)


def test_references_without_numbers_are_no_sums(model: Path, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": word, "answer": "none"}) + "\n" for word in WORDS)
    )
    prompts = JsonlPrompts(path=tmp_path / "rows.jsonl", reference="{answer}", held_out=0.5)
    config = TestTimeConfig(prompts=prompts, choose=["majority"], max_new_tokens=4)
    with pytest.raises(ValueError, match="no reference of a held-out prompt has one"):
        run_test_time(model, None, None, tmp_path, config, RESOURCES)


def test_prompts_that_align_trains_on_are_not_asked(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n')
    sources = {"sources": [{"kind": "jsonl", "name": "a", "paths": [str(tmp_path / "rows.jsonl")]}]}
    rows = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}
    align = {"algorithm": "grpo", "prompts": rows | {"held_out": 0.2}}
    with pytest.raises(ValueError, match=r"align.prompts holds out 0.2 of .*rows.jsonl and test_time.prompts 0.5"):
        PipelineConfig(ingest=sources, align=align, test_time={"prompts": rows | {"held_out": 0.5}})  # type: ignore[arg-type]
    other = {"prompts": rows | {"held_out": 0.2, "prompt": "{prompt}?"}}
    with pytest.raises(ValueError, match="would ask what align trained on"):
        PipelineConfig(ingest=sources, align=align, test_time=other)  # type: ignore[arg-type]
    taught = {"data": {"kind": "files", "paths": [rows["path"]]}}
    with pytest.raises(ValueError, match=r"sft.data holds out 0.05 of .*rows.jsonl and align.prompts 0.2"):
        PipelineConfig(ingest=sources, sft=taught, align=align)  # type: ignore[arg-type]
    PipelineConfig(ingest=sources, align=align, test_time={"prompts": rows | {"held_out": 0.2}})  # type: ignore[arg-type]
