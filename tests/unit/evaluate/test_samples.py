"""What is counted of the answers that are kept to be read."""

import json
from pathlib import Path

import pytest
import torch
from tiny_chat_model import write_tiny_gpt2
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.evaluate.samples import write_samples

PROMPTS = ["What does the list sort do?", "Что делает этот список?"]


def write(model: Path, path: Path, prompts: list[str], *, always: str = "") -> tuple[dict[str, float], list[str]]:
    """always: the one token that the model says."""
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    if always:
        (token,) = tokenizer.encode(always, add_special_tokens=False)
        policy.lm_head = torch.nn.Linear(policy.config.hidden_size, policy.config.vocab_size, bias=True)
        torch.nn.init.zeros_(policy.lm_head.weight)
        torch.nn.init.zeros_(policy.lm_head.bias)
        policy.lm_head.bias.data[token] = 1.0
    found = write_samples(path, policy, tokenizer, prompts, chat=True, max_tokens=12, seed=0)
    return found, [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_length_and_repetition_are_those_of_the_answers_written(tiny_model: Path, tmp_path: Path):
    metrics, answers = write(tiny_model, tmp_path / "samples.jsonl", PROMPTS)
    words = [answer.split() for answer in answers]
    assert metrics["samples_n"] == 2
    assert metrics["samples_words"] == sum(map(len, words)) / 2
    triples = [list(zip(text, text[1:], text[2:], strict=False)) for text in words]
    repeated = [1 - len(set(each)) / len(each) if each else 0.0 for each in triples]
    assert metrics["samples_repetition"] == pytest.approx(sum(repeated) / 2)
    assert metrics["samples_words_ci_low"] <= metrics["samples_words"] <= metrics["samples_words_ci_high"]


def test_an_answer_in_another_language_and_one_that_was_cut_off_are_counted(tiny_model: Path, tmp_path: Path):
    metrics, answers = write(tiny_model, tmp_path / "samples.jsonl", PROMPTS, always=" list")
    assert answers == [" list" * 12] * 2
    assert metrics["samples_cut_off"] == 1
    assert metrics["samples_repetition"] == pytest.approx(1 - 1 / 10)  # one distinct triple of ten
    assert metrics["samples_same_language"] == 0.5  # English to a question in English, and to one in Russian


def test_an_empty_answer_is_in_no_language(tiny_model: Path, tmp_path: Path):
    metrics, answers = write(tiny_model, tmp_path / "samples.jsonl", PROMPTS, always="<|im_end|>")
    assert answers == ["", ""]
    assert [metrics[f"samples_{name}"] for name in ("words", "same_language", "cut_off")] == [0, 0, 0]


def test_one_prompt_gives_no_numbers(tiny_model: Path, tmp_path: Path):
    metrics, answers = write(tiny_model, tmp_path / "samples.jsonl", PROMPTS[:1])
    assert (metrics, len(answers)) == ({}, 1)


def test_a_prompt_without_room_for_an_answer_is_left_out_and_counted(tmp_path: Path):
    """The context is 128 tokens; 12 of them are the answer's."""
    prompts = [PROMPTS[0], "zqxj" * 40, PROMPTS[1]]
    metrics, answers = write(write_tiny_gpt2(tmp_path / "model"), tmp_path / "samples.jsonl", prompts)
    asked = [json.loads(line)["prompt"] for line in (tmp_path / "samples.jsonl").read_text("utf-8").splitlines()]
    assert asked == PROMPTS
    assert len(answers) == metrics["samples_n"] == 2
    assert metrics["samples_too_long"] == 1
