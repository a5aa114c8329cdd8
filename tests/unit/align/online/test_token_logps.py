"""Token log-probabilities of answers that share a prompt, against one row per answer and autograd."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereForCausalLM, Gemma2ForCausalLM, GraniteForCausalLM

from gristmill.align.online.token_logps import score_tokens
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps

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


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (Gemma2ForCausalLM, {"final_logit_softcapping": 2.0, "head_dim": 8}),
        (CohereForCausalLM, {"logit_scale": 0.0625}),
        (GraniteForCausalLM, {"logits_scaling": 8.0}),
    ],
)
def test_what_a_model_does_to_its_logits_is_in_the_scores(family: Any, settings: dict[str, Any]):
    """A cap (Gemma 2), a factor (Cohere) and a divisor (Granite): sampled and scored probabilities must be the same."""
    torch.manual_seed(0)
    config = family.config_class(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=1.0,
        **settings,
    )
    model = family(config).eval()
    scored, scored_alone = score_tokens(model, ROWS, longest=3).logps_CT.sum(dim=1), []
    for row in ROWS:
        for completion in row.completions:
            ids = torch.tensor([[*row.prompt, *completion]])
            logps = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1].log_softmax(dim=-1)
            scored_alone.append(logps.gather(1, torch.tensor(completion)[:, None]).sum().item())
    assert scored.tolist() == pytest.approx(scored_alone, abs=1e-4)
    assert [logp for row in completion_logps(model, ROWS) for logp in row] == pytest.approx(scored_alone, abs=1e-4)
