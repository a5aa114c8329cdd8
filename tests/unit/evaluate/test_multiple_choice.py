import json
import math
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.evaluate.branches import Branches
from gristmill.evaluate.config import MultipleChoice
from gristmill.evaluate.logps import completion_logps
from gristmill.evaluate.multiple_choice import Item, answer_items, choice_metrics, read_items

ITEM = Item("sort", 1, "What does `list.sort` do?", ["Return the sort.", "No", "Nothing, in order."], 0)


@pytest.mark.parametrize("score", ["sum", "per_byte", "mutual_information"])
@pytest.mark.parametrize("chat", [True, False])
def test_scores_are_log_probabilities_of_the_choice_after_the_pinned_prompt(tiny_model: Path, score: str, chat: bool):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    benchmark = MultipleChoice.model_validate({"score": score})
    (row,) = answer_items(model, tokenizer, [ITEM], benchmark, chat=chat)

    def logp(question: str, choice: str) -> float:
        prompt = f"<|endoftext|>{question}\n"
        if chat:
            prompt = f"<|endoftext|><|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            choice += "<|im_end|>"
        return completion_logps(model, [Branches(tokenizer(prompt)["input_ids"], [tokenizer(choice)["input_ids"]])])[0][
            0
        ]

    expected = [logp(ITEM.question, choice) for choice in ITEM.choices]
    if score == "per_byte":
        expected = [found / len(choice) for found, choice in zip(expected, ITEM.choices, strict=True)]
    if score == "mutual_information":
        expected = [
            found - logp("What does it do?", choice) for found, choice in zip(expected, ITEM.choices, strict=True)
        ]
    assert row["scores"] == pytest.approx(expected, abs=1e-4)
    assert row["chosen"] == expected.index(max(expected))
    assert (row["word_overlap"], row["shortest"]) == (1.0, 0.0)


def test_a_question_longer_than_the_context_loses_its_beginning(tiny_model: Path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    long = Item("long", 1, "?" * 400, ["yes", "no"], 0)
    (row,) = answer_items(model, tokenizer, [long], MultipleChoice(score="sum"), chat=False)
    assert all(math.isfinite(score) for score in row["scores"])


def test_the_better_of_both_baselines_is_the_one_to_beat():
    rows = [
        {"benchmark": "docs_choice", "correct": correct, "word_overlap": 0.25, "shortest": 0.5}
        for correct in [1.0, 1.0, 0.0, 1.0]
    ]
    metrics = choice_metrics(rows, seed=0)
    assert metrics["docs_choice_accuracy"] == 0.75
    assert metrics["docs_choice_accuracy_minus_baseline"] == 0.25
    assert metrics["docs_choice_n"] == 4


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (
            {"id": "a", "question": "q", "choices": ["x", "y"], "answer": 2},
            "answer=2 but the choices are numbered 0 to 1",
        ),
        ({"id": "a", "question": "q", "choices": ["x"], "answer": 0}, "at least two choices"),
        ({"id": "a", "choices": ["x", "y"], "answer": 0}, "expected question"),
        ({"id": "first", "question": "q", "choices": ["x", "y"], "answer": 0}, "'first' stands twice"),
    ],
)
def test_a_damaged_item_is_named_by_file_and_line(tmp_path: Path, item: dict, complaint: str):
    path = tmp_path / "items.jsonl"
    good = {"id": "first", "question": "q", "choices": ["x", "y"], "answer": 0}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(item)}\n")
    with pytest.raises(ValueError, match=r"items\.jsonl:2: ") as error:
        read_items(path)
    assert complaint in str(error.value)
