"""A local judge too small to write a verdict: the likeliest of the verdict lines counts."""

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.judge.config import JudgeFile
from gristmill.judge.local import LocalModel
from gristmill.judge.preferences import open_judge
from gristmill.judge.questions import Question
from gristmill.judge.templates import VERDICTS, parsed_verdict
from gristmill.judge.verdicts import Contest, compare
from gristmill.schema import Resources

ASKED = ({"role": "user", "content": "sort"},)


def test_the_line_with_the_highest_log_probability_is_the_reply(tiny_model: Path):
    judge = LocalModel(tiny_model, {}, batch_rows=8, device="cpu", threads=1, picks_likeliest=True)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    prompts = [({"role": "user", "content": text},) for text in ("sort", "join a list", "what?")]
    expected = []
    for prompt in prompts:
        begun = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
        logps = []
        for line in VERDICTS:
            start = len(tokenizer.encode(begun, add_special_tokens=False))
            ids = torch.tensor([tokenizer.encode(begun, add_special_tokens=False) + tokenizer.encode(line)])
            with torch.no_grad():
                each = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            logps.append(float(each[start - 1 :].sum()))
        expected.append(VERDICTS[logps.index(max(logps))])
    found = dict(judge.replies([Question(prompt, 8, options=VERDICTS) for prompt in prompts]))
    assert [found[number].text for number in range(3)] == expected


def test_every_verdict_line_can_be_read():
    assert [parsed_verdict(line) for line in VERDICTS] == ["A", "B", "tie"]


def test_comparisons_are_readable_and_other_questions_are_answered_in_words(tiny_model: Path, tmp_path: Path):
    roomy = shutil.copytree(tiny_model, tmp_path / "roomy")
    settings = json.loads((roomy / "config.json").read_text())
    (roomy / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 1024}))
    written = JudgeFile.model_validate({"judge": {"kind": "model", "path": str(roomy)}}).judge
    likeliest = written.model_copy(update={"verdicts": "likeliest"})
    contest = Contest(ASKED, "a list", "a title")
    cpu = Resources(threads=1, device="cpu")
    judges = [open_judge(each, tmp_path / "replies.jsonl", cpu) for each in (written, likeliest)]
    outcomes = [compare(judge, [contest], criterion="x", max_tokens=4)[0].outcome for judge in judges]
    assert outcomes[0] == "unreadable"
    assert outcomes[1] != "unreadable"  # and not remembered from the other judge
    (reply,) = judges[1].ask([Question(ASKED, 4)], label="test")
    assert reply.text not in VERDICTS
    assert written.identity() != likeliest.identity()
