"""Token log-probabilities of answers that share a prompt, against one row per answer and autograd."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gristmill.align.online import token_logps
from gristmill.align.online.token_logps import score_tokens
from gristmill.evaluate.branches import Branches

ROWS = [Branches([5, 6, 7], [[8, 9], [10, 11, 12]]), Branches([20, 21], [[22], [23, 24], [25]])]
TEMPERATURE = 0.8


def test_scores_and_gradients_are_those_of_one_row_per_answer(tiny_model: Path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    scored = score_tokens(model, ROWS, longest=4, temperature=TEMPERATURE, with_hidden=True)
    weights = torch.linspace(-1, 1, 20).reshape(5, 4)
    (scored.logps_CT * weights).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()

    total, answer = torch.zeros(()), 0
    for row in ROWS:
        for completion in row.completions:
            ids = torch.tensor([[*row.prompt, *completion]])
            output = model(input_ids=ids, output_hidden_states=True)
            places = slice(len(row.prompt) - 1, -1)
            logps = (output.logits[0, places] / TEMPERATURE).log_softmax(dim=-1)
            chosen = logps.gather(1, torch.tensor(completion)[:, None])[:, 0]
            n = len(completion)
            assert torch.allclose(scored.logps_CT[answer, :n], chosen, atol=1e-5)
            assert not scored.logps_CT[answer, n:].any()
            entropy = -(logps.exp() * logps).sum(dim=-1)
            assert torch.allclose(scored.entropy_CT[answer, :n], entropy, atol=1e-5)
            assert scored.hidden_CTD is not None
            assert torch.allclose(scored.hidden_CTD[answer, :n], output.hidden_states[-1][0, places], atol=1e-5)
            total = total + (chosen * weights[answer, :n]).sum()
            answer += 1
    total.backward()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            assert torch.allclose(found[name], weight.grad, atol=1e-5), name


def test_logits_that_are_computed_once_more_give_the_same_scores_and_gradients(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    rows_of_the_head: list[int] = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: rows_of_the_head.append(len(output))
    )
    scores, gradient = _scores_and_gradient(model)
    assert rows_of_the_head == [9]
    monkeypatch.setattr(token_logps, "MAX_LOGITS", 4 * model.config.vocab_size)
    again, gradient_again = _scores_and_gradient(model)
    assert rows_of_the_head == [9, 4, 4, 1, *rows_of_the_head[4:]]
    assert sorted(rows_of_the_head[4:]) == [1, 4, 4]
    torch.testing.assert_close(again, scores)
    torch.testing.assert_close(gradient_again, gradient)


def _scores_and_gradient(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    scores = score_tokens(model, ROWS, longest=3).logps_CT
    (scores * torch.linspace(-1, 1, 15).reshape(5, 3)).sum().backward()
    return scores.detach(), model.get_output_embeddings().weight.grad.clone()
