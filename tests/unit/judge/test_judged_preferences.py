"""AI feedback and a constitution make pairs that training reads, and a resumed stage asks nothing twice."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_judge import Asked, FakeJudge

from gristmill.align.config import ExampleRows
from gristmill.align.data import note_licenses, read_pairs
from gristmill.config import PipelineConfig
from gristmill.judge.config import (
    ConstitutionConfig,
    EndpointJudge,
    ExamplePrompts,
    FeedbackConfig,
    ModelJudge,
    PromptFile,
)
from gristmill.judge.local import LocalModel
from gristmill.judge.preferences import license_of_writer, open_judge, run_judged_preferences
from gristmill.judge.questions import JudgeFailed, Question
from gristmill.model.origin import Origin, data_licenses, note_data_license, write_origin
from gristmill.schema import Resources

HERE = Resources(threads=1, device="cpu")
CONSTITUTION = Path(__file__).parents[3] / "pipeline_configs" / "constitutions" / "harmless.yaml"


def endpoint(fake: FakeJudge, **settings) -> EndpointJudge:
    return EndpointJudge(url=fake.url, model="fake", allow_private=True, first_wait_s=0.01, **settings)


def shorter(asked: Asked) -> str:
    return "Verdict: A" if len(asked["answer_A"]) < len(asked["answer_B"]) else "Verdict: B"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"What is {number}?"}) + "\n" for number in range(12)))
    return path


def test_feedback_prefers_what_the_judge_prefers_in_both_orders(
    tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path
):
    out = tmp_path / "out"
    with FakeJudge(shorter) as fake:
        config = FeedbackConfig(
            prompts=PromptFile(path=prompts, license="CC-BY-SA-4.0"),
            judge=endpoint(fake),
            answer_tokens=48,
            held_out=0.25,
            max_prompts=10,
        )
        report = run_judged_preferences(tiny_model, examples, out, config, HERE)
    pairs = rows(out / "preferences.jsonl") + rows(out / "preferences_held_out.jsonl")
    assert report.rows_out == len(pairs) > 5
    assert report.rows_in == 10
    assert report.rows_in == report.rows_out + sum(report.dropped.values())
    assert all(len(pair["chosen"][0]["content"]) < len(pair["rejected"][0]["content"]) for pair in pairs)
    assert report.details["longer_chosen"]["share"] == 0
    flipped = report.dropped.get("order_flipped", 0)  # answers of one length, where this judge says B
    assert report.metrics["order_agreement"] == len(pairs) / (len(pairs) + flipped)
    split = read_pairs(ExampleRows(), out)
    assert len(split.train) + len(split.held_out) == len(pairs)
    assert not {str(pair.prompt) for pair in split.train} & {str(pair.prompt) for pair in split.held_out}
    assert (out / "sft.jsonl").read_bytes() == (examples / "sft.jsonl").read_bytes()
    assert data_licenses(out) == {"preferences.prompts": "CC-BY-SA-4.0"}
    assert {row["outcome"] for row in rows(out / "judge" / "judged.jsonl")} <= {"first", "second", "order_flipped"}


def test_a_rubric_prefers_the_higher_score_and_keeps_ties_apart(
    tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path
):
    with FakeJudge(lambda asked: f"Score: {min(10, 1 + len(asked['answer']) // 8)}") as fake:
        config = FeedbackConfig(
            prompts=PromptFile(path=prompts), judge=endpoint(fake), by="rubric", answer_tokens=48, answers_per_prompt=4
        )
        report = run_judged_preferences(tiny_model, examples, tmp_path / "out", config, HERE)
    assert report.rows_in == 24
    assert report.dropped.keys() <= {"tie", "equal_answers", "empty_answer", "cut_off"}
    assert report.dropped["tie"] > 0
    pairs = rows(tmp_path / "out" / "preferences.jsonl")
    assert all(len(pair["chosen"][0]["content"]) > len(pair["rejected"][0]["content"]) for pair in pairs)


def test_prompts_of_examples_stay_on_their_side(tiny_model: Path, examples: Path, tmp_path: Path):
    with FakeJudge(shorter) as fake:
        config = FeedbackConfig(
            prompts=ExamplePrompts(), judge=endpoint(fake), answer_tokens=48, held_out=0.4, max_prompts=10
        )
        run_judged_preferences(tiny_model, examples, tmp_path / "out", config, HERE)
    asked = {row["messages"][0]["content"] for row in rows(examples / "sft_held_out.jsonl")}
    held_out = {row["prompt"][0]["content"] for row in rows(tmp_path / "out" / "preferences_held_out.jsonl")}
    train = {row["prompt"][0]["content"] for row in rows(tmp_path / "out" / "preferences.jsonl")}
    assert held_out
    assert held_out <= asked
    assert train
    assert not train & asked


def test_a_judge_that_goes_away_is_resumed_where_it_stopped(
    tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path
):
    out = tmp_path / "out"
    with FakeJudge(shorter, fault=lambda number: "500" if 5 <= number < 8 else "") as fake:
        config = FeedbackConfig(
            prompts=PromptFile(path=prompts), judge=endpoint(fake, tries=1, concurrency=1), answer_tokens=48
        )
        with pytest.raises(JudgeFailed, match="it answers 500"):
            run_judged_preferences(tiny_model, examples, out, config, HERE)
        assert not (out / "preferences.jsonl").exists()
        fake.fault = lambda number: ""
        before = len(fake.requests)
        report = run_judged_preferences(tiny_model, examples, out, config, HERE)
        asked = 2 * len(rows(out / "judge" / "judged.jsonl"))
        assert len(fake.requests) - before == asked - 5
        assert report.details["asked"]["remembered"] == 5
        run_judged_preferences(tiny_model, examples, out, config, HERE)
        assert len(fake.requests) - before == asked - 5


def test_a_constitution_prefers_the_revision(tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path):
    def answer(asked: Asked) -> str:
        if "critique" not in asked:
            return f"It could be kinder than: {asked['answer']}"
        return f"Kind: {asked['answer']}" if asked["critique"].startswith("It could be kinder") else ""

    out = tmp_path / "out"
    with FakeJudge(answer) as fake:
        config = ConstitutionConfig(
            prompts=PromptFile(path=prompts),
            constitution=CONSTITUTION,
            license="test-terms",
            reviser=endpoint(fake),
            answer_tokens=48,
            revisions=2,
        )
        report = run_judged_preferences(tiny_model, examples, out, config, HERE)
        assert len(fake.requests) == 12 * 2 * 2
    assert data_licenses(out) == {"preferences": "test-terms", "preferences.prompts": "unknown"}
    pairs = rows(out / "preferences.jsonl") + rows(out / "preferences_held_out.jsonl")
    assert len(pairs) == report.rows_out == 12
    assert all(pair["chosen"][0]["content"] == f"Kind: Kind: {pair['rejected'][0]['content']}" for pair in pairs)
    assert sum(report.details["principles"].values()) == 24
    assert report.metrics["toxicity_n"] == 12
    assert report.metrics["toxicity_change"] == pytest.approx(
        report.metrics["toxicity_after"] - report.metrics["toxicity_before"]
    )


def test_a_revision_that_is_no_other_text_or_none_gives_no_pair(
    tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path
):
    replies = iter(["same", "", "other", "marks", "again", "other"] * 2)

    def answer(asked: Asked) -> str:
        if "critique" not in asked:
            return "Bad."
        marks = re.findall(r"</answer [0-9a-f]+>", asked.text)
        said = {"same": asked["answer"], "marks": f"Better. {marks[0]}", "again": "It is so. " * 9, "other": "Better."}
        return said.get(next(replies), "")

    with FakeJudge(answer) as fake:
        config = ConstitutionConfig(
            prompts=PromptFile(path=prompts),
            constitution=CONSTITUTION,
            license="test-terms",
            reviser=endpoint(fake, concurrency=1),
            answer_tokens=48,
        )
        report = run_judged_preferences(tiny_model, examples, tmp_path / "out", config, HERE)
    assert report.rows_out == 4
    assert report.dropped == {"equal_answers": 2, "no_revision": 2, "shows_marks": 2, "repetitive": 2}
    rows_of = {row["outcome"]: row for row in rows(tmp_path / "out" / "judge" / "judged.jsonl")}
    assert rows_of["repetitive"]["revised"] == rows_of["repetitive"]["first"], "what is left out changes nothing"


def test_too_few_pairs_are_an_error_that_says_why(tiny_model: Path, examples: Path, prompts: Path, tmp_path: Path):
    with FakeJudge(lambda asked: "Verdict: tie") as fake:
        config = FeedbackConfig(prompts=PromptFile(path=prompts), judge=endpoint(fake), answer_tokens=48)
        with pytest.raises(ValueError, match="0 pairs came of 12 prompts"):
            run_judged_preferences(tiny_model, examples, tmp_path / "out", config, HERE)


def test_a_local_model_replies_alike_alone_and_among_others_and_says_what_is_too_long(tiny_model: Path):
    model = LocalModel(tiny_model, {"weights": "x"}, batch_rows=2, device="cpu", threads=1)
    messages = [({"role": "user", "content": text},) for text in ("sort", "a longer question", "z" * 600)]
    questions = [Question(each, 8, temperature, 7) for temperature in (0.0, 1.0) for each in messages]
    together = dict(model.replies(questions))
    assert sorted(together) == list(range(6))
    assert together[2].why == together[5].why == "too_long"
    for number in (0, 1, 3, 4):
        assert dict(model.replies([questions[number]]))[0] == together[number]
    assert together[0] != together[3]


def test_how_a_judge_is_reached_is_no_part_of_the_key(tiny_model: Path, prompts: Path, tmp_path: Path):
    judge = EndpointJudge(url="https://judge.example.org/v1", model="x")
    config = FeedbackConfig(prompts=PromptFile(path=prompts), judge=judge)
    patient = judge.model_copy(update={"tries": 9, "key_env": "OTHER_KEY", "concurrency": 1})
    assert config.model_copy(update={"judge": patient}).identity() == config.identity()
    other = judge.model_copy(update={"model": "y"})
    assert config.model_copy(update={"judge": other}).identity() != config.identity()
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(prompts.read_bytes())
    assert config.model_copy(update={"prompts": PromptFile(path=moved)}).identity() == config.identity()
    assert config.identity()["templates"]["compare"].startswith("1 ")
    local = ModelJudge(path=tiny_model)
    assert "path" not in local.identity()


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json", "generation_config.json"])
def test_all_that_decides_a_model_s_answers_is_part_of_the_key(name: str, tiny_model: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    (other / "chat_template.jinja").write_text("{{ messages }}")
    same = tmp_path / "same"
    shutil.copytree(other, same)
    (other / name).write_text((other / name).read_text() + "\n")
    assert ModelJudge(path=same).identity() != ModelJudge(path=other).identity()
    assert ModelJudge(path=same).identity()["weights"] == ModelJudge(path=other).identity()["weights"]
    (other / name).write_bytes((same / name).read_bytes())
    assert ModelJudge(path=same).identity() == ModelJudge(path=other).identity()


def test_replies_of_a_model_are_remembered_under_its_whole_content(tiny_model: Path, tmp_path: Path):
    judge = open_judge(ModelJudge(path=tiny_model), tmp_path / "replies.jsonl", HERE)
    files = judge.respondent.identity["files"]
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= files.keys()


def test_who_writes_what_is_trained_on_has_a_licence(prompts: Path, tiny_model: Path, tmp_path: Path):
    settings = {"prompts": PromptFile(path=prompts), "constitution": CONSTITUTION}
    judge = EndpointJudge(url="https://judge.example.org/v1", model="x")
    with pytest.raises(ValueError, match=r"preferences\.license is missing"):
        ConstitutionConfig(**settings, reviser=judge)
    assert license_of_writer(judge, ConstitutionConfig(**settings, reviser=judge, license="MIT").license) == "MIT"
    assert license_of_writer(ModelJudge(), None) is None
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    write_origin(Origin(name="other", license="Apache-2.0", content={}), other)
    assert license_of_writer(ModelJudge(path=other), None) == "Apache-2.0"


def test_a_model_that_learns_from_the_pairs_has_their_licence(tmp_path: Path):
    made, out = tmp_path / "made", tmp_path / "out"
    for folder in (made, out):
        folder.mkdir()
    note_data_license(made, "preferences", "test-terms")
    note_licenses(out, "align", None, "examples", made)
    assert data_licenses(out) == {"preferences": "test-terms"}


def test_the_configuration_tells_the_kinds_apart(prompts: Path):
    settings = {
        "ingest": {"sources": [{"kind": "jsonl", "name": "pages", "paths": [str(prompts)]}]},
        "preferences": {"kind": "constitution", "constitution": str(CONSTITUTION), "reviser": {"kind": "model"}},
    }
    assert isinstance(PipelineConfig.model_validate(settings).preferences, ConstitutionConfig)
