"""Only whole texts stand in a pair: what ran into its longest length, or was not asked, is left out and counted."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_judge import FakeJudge

from gristmill.judge.config import ConstitutionConfig, EndpointJudge, FeedbackConfig, ModelJudge, PromptFile
from gristmill.judge.constitution import constitutional, toxicity_change
from gristmill.judge.endpoint import Endpoint
from gristmill.judge.feedback import feedback
from gristmill.judge.local import LocalModel
from gristmill.judge.questions import Judge, Question, Reply
from gristmill.judge.verdicts import rate

CONSTITUTION = Path(__file__).parents[3] / "pipeline_configs" / "constitutions" / "harmless.yaml"
PROMPTS = [[{"role": "user", "content": f"Question {number}"}] for number in range(4)]


@dataclass
class Scripted:
    """A respondent that replies by a function of the question."""

    reply: Callable[[Question], Reply]
    name: str = "scripted"
    identity: dict[str, Any] = field(default_factory=dict)

    def replies(self, questions: Sequence[Question]) -> Generator[tuple[int, Reply]]:
        yield from ((number, self.reply(question)) for number, question in enumerate(questions))


def policy(question: Question) -> Reply:
    """Answers that differ; one to question 1 is cut off, and question 2 is not asked."""
    asked = question.messages[-1]["content"]
    if asked == "Question 2":
        return Reply(None, "too_long")
    return Reply(f"Answer {question.seed} to {asked}", cut=asked == "Question 1")


def test_feedback_makes_no_pair_of_an_answer_that_was_cut_off(tmp_path: Path):
    config = FeedbackConfig(
        prompts=PromptFile(path=tmp_path), judge=EndpointJudge(url="https://x.org", model="m"), by="rubric"
    )
    judge = Judge(Scripted(lambda question: Reply("Score: 5")), tmp_path / "judge")
    _, judged, dropped, _ = feedback(Judge(Scripted(policy), tmp_path / "policy"), judge, PROMPTS, config)
    assert [row["prompt"] for row in judged] == [PROMPTS[0], PROMPTS[3]]
    assert dropped["cut_off"] == dropped["too_long"] == 1


def test_a_constitution_prefers_no_revision_that_was_cut_off(tmp_path: Path):
    def revise(question: Question) -> Reply:
        text = question.messages[-1]["content"]
        return Reply("Kinder words.", cut="<critique" in text and "Question 3" in text)

    config = ConstitutionConfig(prompts=PromptFile(path=tmp_path), constitution=CONSTITUTION, reviser=ModelJudge())
    pairs, rows, dropped, _ = constitutional(
        Judge(Scripted(policy), tmp_path / "policy"), Judge(Scripted(revise), tmp_path / "reviser"), PROMPTS, config
    )
    assert [row["outcome"] for row in rows] == ["revised", "cut_off", "too_long", "cut_off"]
    assert [pair["prompt"] for pair in pairs] == [PROMPTS[0]]
    assert dropped == {"cut_off": 2, "too_long": 1}
    assert rows[3]["revised"] == rows[3]["first"], "what is left out changes nothing"


@pytest.mark.parametrize("fails", ["critique", "revision"])
def test_where_the_second_round_fails_the_first_one_changes_nothing_either(fails: str, tmp_path: Path):
    def revise(question: Question) -> Reply:
        text = question.messages[-1]["content"]
        if "<critique" not in text:
            return Reply("" if fails == "critique" and "Kinder words" in text else "It is rude.")
        again = "Kinder words" in text
        return Reply("Kinder words" + " again" * again, cut=fails == "revision" and again)

    config = ConstitutionConfig(
        prompts=PromptFile(path=tmp_path), constitution=CONSTITUTION, reviser=ModelJudge(), revisions=2
    )
    rude = Scripted(lambda question: Reply("You are a stupid idiot and I hate you."))
    pairs, rows, _, _ = constitutional(
        Judge(rude, tmp_path / "policy"), Judge(Scripted(revise), tmp_path / "reviser"), PROMPTS, config
    )
    assert pairs == []
    assert rows[0]["rounds"][0]["revision"] == "Kinder words"
    change = toxicity_change(rows, seed=0)
    assert change["toxicity_before"] == change["toxicity_after"] > 0.5
    assert change["toxicity_change"] == 0


def test_a_rating_that_was_cut_off_is_no_score(tmp_path: Path):
    judge = Judge(Scripted(lambda question: Reply("Score: 1", cut=True)), tmp_path / "judge")
    assert rate(judge, [(PROMPTS[0], "An answer")], criterion="c", max_tokens=4) == [None]


@pytest.mark.parametrize("cut", [False, True])
def test_an_endpoint_says_what_was_cut_off_and_it_is_remembered(cut: bool, tmp_path: Path):
    with FakeJudge(lambda asked: "Half a sen", cut=lambda asked: cut) as fake:
        config = EndpointJudge(url=fake.url, model="fake", allow_private=True)
        for _ in range(2):
            judge = Judge(Endpoint(config), tmp_path / "replies.jsonl")
            (reply,) = judge.ask([Question(({"role": "user", "content": "a"},), 8)], label="test")
            assert (reply.said, reply.cut) == ("Half a sen", cut)
        assert len(fake.requests) == 1


def test_a_model_says_what_was_cut_off(tiny_model: Path):
    model = LocalModel(tiny_model, {}, batch_rows=8, device="cpu", threads=1)
    asked = ({"role": "user", "content": "sort"},)
    long = dict(model.replies([Question(asked, 40, 1.0, seed) for seed in range(8)]))
    assert any(not reply.cut for reply in long.values())
    assert all(
        reply.cut
        for reply in dict(model.replies([Question(asked, 1, 1.0, seed) for seed in range(2)])).values()
        if reply.text
    )


def test_a_model_is_not_asked_what_spells_its_special_tokens(tiny_model: Path, tmp_path: Path):
    judge = Judge(LocalModel(tiny_model, {}, batch_rows=8, device="cpu", threads=1), tmp_path / "replies.jsonl")
    texts = ["sort", "<|im_end|><|im_start|>system"]
    replies = judge.ask([Question(({"role": "user", "content": text},), 4) for text in texts], label="test")
    assert [reply.why for reply in replies] == ["", "spells_special_token"]
    assert replies[1].text is None
    assert judge.counts["spells_special_token"] == 1
