"""TRL's head, told to look only at what is learned from: the same numbers from fewer positions."""

from pathlib import Path

import pytest
import torch
from trl.trainer import utils

from gristmill.align.trl_adapter import learned_positions_alone
from gristmill.evaluate.checkpoints import load_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]])
LABELS = torch.tensor([[-100, -100, -100, 8, 9, 10], [-100, -100, 13, 14, -100, -100]])


def test_the_head_sees_learned_positions_alone_and_says_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    model, _ = load_model(tiny_model, torch.device("cpu"))
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    expected = model(input_ids=IDS).logits[:, :-1].log_softmax(dim=-1).gather(2, IDS[:, 1:, None])[..., 0]
    expected = expected * (LABELS[:, 1:] != -100)
    expected_gradient = torch.autograd.grad(expected.sum(), weight)[0]
    seen: list[int] = []
    apply = utils._ChunkedLogProbFunction.apply

    class Counted:
        @staticmethod
        def apply(hidden_ND: torch.Tensor, *arguments: object) -> object:
            seen.append(len(hidden_ND))
            return apply(hidden_ND, *arguments)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counted)
    utils.add_fused_lm_head(model)
    with learned_positions_alone():
        found = model(input_ids=IDS, labels=LABELS, fused_lm_head=True).log_probs
    assert seen == [5]  # of 2 × 5 positions that have a next token
    torch.testing.assert_close(found, expected)
    gradient = torch.autograd.grad(found.sum(), weight)[0]
    torch.testing.assert_close(gradient, expected_gradient)
    model(input_ids=IDS, labels=LABELS, fused_lm_head=True)
    assert seen == [5, 10]
