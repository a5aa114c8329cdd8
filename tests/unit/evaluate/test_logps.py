from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from gristmill.evaluate import logps
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps

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


def test_measuring_leaves_a_model_in_training_mode_as_it_was(model: PreTrainedModel):
    model.train()
    completion_logps(model, ROWS[:1])
    assert model.training
