from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from gristmill.evaluate import logps
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.generation import greedy_answers
from gristmill.evaluate.logps import completion_logps
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.model.shape import Family

ROWS = [
    Branches([0, 5, 6, 7], [[8, 9, 10], [11], [12, 13]]),
    Branches([0], [[20, 21, 22, 23, 24, 25]]),
    Branches([0, 30, 31], [[32], [], [33, 34, 35, 36]]),
]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


def one_at_a_time(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> float:
    """The same from transformers alone: a row of its own for each completion, no mask."""
    if not completion:
        return 0.0
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
    steps = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
    return steps.gather(1, torch.tensor(completion)[:, None]).sum().item()


@pytest.mark.parametrize("tokens_per_batch", [1, 16, 4096])
def test_completions_in_one_row_score_as_if_each_were_alone(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, tokens_per_batch: int
):
    monkeypatch.setattr(logps, "CPU_TOKENS_PER_BATCH", tokens_per_batch)
    found = completion_logps(model, ROWS)
    for row, of_row in zip(ROWS, found, strict=True):
        expected = [one_at_a_time(model, list(row.prompt), list(completion)) for completion in row.completions]
        assert of_row == pytest.approx(expected, abs=1e-4)


def random_model(family: Family) -> PreTrainedModel:
    config = ModelConfig(family=family, depth=2, width=32, heads=2)
    model = build_model(config, vocab_size=40, max_seq_len=32, bos_id=0, eos_id=0, pad_id=1, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize("family", ["qwen3_moe", "llama", "gpt2"])
def test_every_family_scores_completions_in_one_row_as_if_each_were_alone(family: Family):
    model = random_model(family)
    for row, of_row in zip(ROWS, completion_logps(model, ROWS), strict=True):
        expected = [one_at_a_time(model, list(row.prompt), list(completion)) for completion in row.completions]
        assert of_row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["qwen3_moe", "llama", "gpt2"])
def test_every_family_answers_with_its_cache_as_without(family: Family):
    model = random_model(family)
    prompts = [[0, 5, 6, 7], [0, 9]]
    answers = greedy_answers(model, prompts, max_new_tokens=5, stop_ids=set())
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(5):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


def test_measuring_leaves_a_model_in_training_mode_as_it_was(model: PreTrainedModel):
    model.train()
    completion_logps(model, ROWS[:1])
    assert model.training
