from typing import Any

import pytest
import torch
from torch import nn

from gristmill.model.onednn import onednn_linears


class Tied(nn.Module):
    """An embedding, two layers with and without bias, and the embedding again as output matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.inner = nn.Linear(32, 48)
        self.outer = nn.Linear(48, 32, bias=False)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return self.head(self.outer(self.inner(self.embed(ids_BT)).relu()))


@pytest.fixture
def model() -> Tied:
    torch.manual_seed(0)
    return Tied()


def loss_and_gradients(model: Tied, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def test_loss_and_gradients_are_those_of_torch(model: Tied):
    ids = torch.randint(50, (3, 7))
    expected = loss_and_gradients(model, ids)
    with onednn_linears(model):
        found = loss_and_gradients(model, ids)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_the_layers_are_torchs_own_again_afterwards_also_after_an_error(model: Tied):
    before = list(model.state_dict())
    with onednn_linears(model):
        assert "forward" in vars(model.inner)
    with pytest.raises(IndexError), onednn_linears(model):
        model(torch.tensor([[99]]))
    assert [name for name, layer in model.named_modules() if "forward" in vars(layer)] == []
    assert list(model.state_dict()) == before


def test_inside_of_it_once_more_nothing_changes(model: Tied):
    with onednn_linears(model):
        outer = model.inner.forward
        with onednn_linears(model):
            assert model.inner.forward is outer
        assert model.inner.forward is outer
    assert "forward" not in vars(model.inner)


@pytest.mark.parametrize("narrow", ["autocast", "weights", "input"])
def test_other_precisions_are_left_alone(model: Tied, narrow: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("oneDNN was asked")

    monkeypatch.setattr("gristmill.model.onednn._linear", refuse)
    given, dtype = torch.randn(2, 32), torch.bfloat16
    if narrow == "weights":
        model, given = model.bfloat16(), given.bfloat16()
    if narrow == "input":
        model, given, dtype = model.double(), given.double(), torch.float64
    with onednn_linears(model), torch.autocast("cpu", torch.bfloat16, enabled=narrow == "autocast"):
        assert model.inner(given).dtype is dtype
