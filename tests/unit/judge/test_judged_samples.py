"""A judge compares a model's sampled answers with its parent's; no gate rests on that alone."""

import json
import math
import shutil
from pathlib import Path

import pytest
from fake_judge import Asked, FakeJudge

from gristmill.evaluate.config import EvaluateConfig
from gristmill.evaluate.run import run_evaluate
from gristmill.judge.config import EndpointJudge, JudgedSamplesConfig, JudgeFile, ModelJudge
from gristmill.judge.samples import judge_samples
from gristmill.promotion.config import AtLeast, PromoteConfig
from gristmill.schema import Resources

HERE = Resources(threads=1, device="cpu")


def kinder(asked: Asked) -> str:
    first, second = ("kind" in asked[name] for name in ("answer_A", "answer_B"))
    return "Verdict: tie" if first == second else "Verdict: A" if first else "Verdict: B"


@pytest.fixture
def talkative_model(tiny_model: Path, tmp_path: Path) -> Path:
    """One whose input and output matrices differ: with one matrix random weights repeat the prompt's last newline."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path / "talkative"
    shutil.copytree(tiny_model, folder)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, tie_word_embeddings=False)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write(path: Path, answers: list[str]) -> Path:
    rows = [{"prompt": f"Question {number}", "answer": answer} for number, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_wins_count_one_losses_minus_one_and_all_else_nothing(tmp_path: Path):
    mine = write(tmp_path / "mine.jsonl", ["kind", "kind", "kind", "rude", "same", "tie"])
    parents = write(tmp_path / "parents.jsonl", ["rude", "rude", "rude", "kind", "same", "tied", "not asked"])
    with FakeJudge(kinder) as fake:
        judge = EndpointJudge(url=fake.url, model="fake", allow_private=True)
        metrics, details = judge_samples(mine, parents, tmp_path, JudgedSamplesConfig(by=judge), HERE, seed=0)
        assert len(fake.requests) == 2 * 5, "equal answers are not asked about"
    assert metrics["judge_wins_minus_losses"] == pytest.approx((3 - 1) / 6)
    assert metrics["judge_wins_minus_losses_ci_low"] < 1 / 3 < metrics["judge_wins_minus_losses_ci_high"]
    assert metrics["judge_n"] == 6
    assert details["judge_outcomes"] == {"first": 3, "second": 1, "equal": 1, "tie": 1}
    assert details["judge_order_agreement"] == "5 of 5"


def test_saying_nothing_loses_to_saying_something(tmp_path: Path):
    mine = write(tmp_path / "mine.jsonl", ["kind"] * 3 + [""] * 16 + ["kind"])
    parents = write(tmp_path / "parents.jsonl", ["rude"] * 18 + ["", ""])
    with FakeJudge(kinder) as fake:
        judge = EndpointJudge(url=fake.url, model="fake", allow_private=True)
        metrics, details = judge_samples(mine, parents, tmp_path, JudgedSamplesConfig(by=judge), HERE, seed=0)
        assert len(fake.requests) == 2 * 3, "where one says nothing, nobody has to be asked"
    assert metrics["judge_wins_minus_losses"] == pytest.approx((3 + 1 - 15) / 20)
    assert metrics["judge_n"] == 20
    assert details["judge_outcomes"] == {"first": 3, "empty": 15, "equal": 1, "parent_empty": 1}


def test_an_answer_may_have_line_separators_of_unicode(tmp_path: Path):
    answers = ["kind\u2028and\u0085kind", "kind"]
    rows = [{"prompt": f"Question {number}", "answer": answer} for number, answer in enumerate(answers)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    parents = write(tmp_path / "parents.jsonl", ["rude", "rude"])
    with FakeJudge(kinder) as fake:
        judge = JudgedSamplesConfig(by=EndpointJudge(url=fake.url, model="fake", allow_private=True))
        metrics, _ = judge_samples(tmp_path / "mine.jsonl", parents, tmp_path, judge, HERE, seed=0)
    assert metrics["judge_n"] == 2
    judged = (tmp_path / "judge" / "judged.jsonl").read_text(encoding="utf-8").split("\n")
    assert json.loads(judged[0])["answer"] == answers[0]


@pytest.mark.parametrize(("config", "field"), [(JudgedSamplesConfig, "by"), (JudgeFile, "judge")])
def test_a_model_without_a_path_is_refused_before_anything_is_built(config: type, field: str):
    with pytest.raises(ValueError, match="needs a path"):
        config.model_validate({field: {"kind": "model"}})
    assert config(**{field: ModelJudge(path=Path("somewhere"))})


def test_without_answers_in_common_nobody_is_asked(tmp_path: Path):
    mine, parents = write(tmp_path / "mine.jsonl", ["kind"]), tmp_path / "none.jsonl"
    judge = JudgedSamplesConfig(by=EndpointJudge(url="https://judge.invalid", model="m"))
    metrics, details = judge_samples(mine, parents, tmp_path, judge, HERE, seed=0)
    assert metrics == {}
    assert details["judge"].startswith("not asked: 0 prompts")


def test_an_evaluation_asks_about_its_samples_and_those_of_its_parent(
    talkative_model: Path, examples: Path, tmp_path: Path
):
    prompts = [f"What does {name} do?" for name in ("sort", "join", "find")]
    parent, out = tmp_path / "parent", tmp_path / "out"
    plain = EvaluateConfig(samples=prompts, sample_tokens=4)
    for folder in (parent, out):
        folder.mkdir()
    report = run_evaluate(talkative_model, None, examples, None, parent, plain, HERE)
    (parent / "result.json").write_text(report.model_dump_json())
    lines = [json.loads(line) for line in (parent / "samples.jsonl").read_text().splitlines()]
    write_kind = [{**line, "answer": "kind"} for line in lines]
    (parent / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in write_kind))
    with FakeJudge(kinder) as fake:
        judge = JudgedSamplesConfig(by=EndpointJudge(url=fake.url, model="fake", allow_private=True))
        asking = plain.model_copy(update={"judge": judge})
        report = run_evaluate(talkative_model, None, examples, parent, out, asking, HERE)
    assert any(line["answer"].strip() for line in lines)
    assert report.metrics["judge_wins_minus_losses"] == -1
    assert report.metrics["judge_n"] == len(prompts)
    assert all(math.isfinite(value) for value in report.metrics.values())


def test_without_a_judge_the_key_of_an_evaluation_is_what_it_was():
    assert "judge" not in EvaluateConfig().identity()
    judge = JudgedSamplesConfig(by=EndpointJudge(url="https://judge.example.org", model="m"))
    assert EvaluateConfig(judge=judge).identity()["judge"]["by"]["model"] == "m"


def test_a_gate_that_asks_for_a_judge_s_opinion_alone_is_refused():
    opinion = AtLeast(metric="judge_wins_minus_losses_ci_low", value=0)
    with pytest.raises(ValueError, match="nothing but a judge's opinion"):
        PromoteConfig(rules=[opinion])
    PromoteConfig(rules=[opinion, *PromoteConfig().rules])
