from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gristmill.evaluate.generation import decode, greedy_answers, sampler, stop_ids

PROMPTS = [[0, 5, 6, 7, 8], [0, 9], [0, 10, 11]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


def test_greedy_answers_of_a_batch_are_those_of_transformers_one_by_one(model: Any):
    expected = [
        model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=319, pad_token_id=1)[
            0, len(prompt) :
        ].tolist()
        for prompt in PROMPTS
    ]
    answers = greedy_answers(model, PROMPTS, max_new_tokens=12, stop_ids={319})
    assert answers == [[token for token in row if token != 319] for row in expected]


def test_an_answer_ends_before_its_stop_token_and_the_batch_when_all_have_stopped(model: Any):
    free = greedy_answers(model, PROMPTS[:1], max_new_tokens=12, stop_ids=set())[0]
    stop = free[4]
    assert greedy_answers(model, PROMPTS[:1], max_new_tokens=12, stop_ids={stop})[0] == free[: free.index(stop)]
    steps = list(decode(model, PROMPTS[:1], max_new_tokens=12, stop_ids={stop}, choose=sampler(temperature=0, seed=0)))
    assert len(steps) == free.index(stop) + 1


def test_the_same_seed_draws_the_same_tokens_in_proportion_to_their_probability():
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(30_000, 3)
    drawn = sampler(temperature=0.5, seed=1)(logits)
    assert torch.equal(drawn, sampler(temperature=0.5, seed=1)(logits))
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(shares, torch.tensor([0.0, 2.0, 4.0]).softmax(0), atol=0.01)


def test_stop_tokens_come_from_the_generation_configuration(model: Any):
    assert stop_ids(model) == {0, 3}
