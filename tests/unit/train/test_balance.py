import pytest
import torch
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from gristmill.train.balance import Balance, expert_use

E, K, N = 6, 2, 50
BALANCE = Balance(weight=1.0, experts=E, experts_per_token=K, module="")
ALL = torch.ones(N, dtype=torch.bool)


def logits(*, layers: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(N, E, generator=generator).mul_(2).requires_grad_() for _ in range(layers)]


def test_the_loss_is_the_mean_over_layers_of_that_of_transformers_and_so_is_its_gradient():
    ours, theirs = logits(layers=3), logits(layers=3)
    loss = BALANCE.penalty(ours, ALL, BALANCE.counts(ours, ALL).float()) / N
    expected = torch.stack([torch.as_tensor(load_balancing_loss_func((layer,), E, K)) for layer in theirs]).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_tokens_that_do_not_count_are_left_out():
    whole, counted = logits(layers=1), ALL.clone()
    counted[::3] = False
    kept = [layer[counted] for layer in whole]
    counts = BALANCE.counts(whole, counted)
    assert torch.equal(counts, BALANCE.counts(kept, ALL[counted]))
    torch.testing.assert_close(
        BALANCE.penalty(whole, counted, counts.float()), BALANCE.penalty(kept, ALL[counted], counts.float())
    )


def test_parts_that_know_the_whole_batchs_counts_add_up_to_its_loss_and_gradient():
    whole, parted = logits(layers=2), logits(layers=2)
    counts = BALANCE.counts(whole, ALL).float()
    loss = BALANCE.penalty(whole, ALL, counts)
    parts = [[layer[part] for layer in parted] for part in (slice(0, 11), slice(11, 12), slice(12, N))]
    shares = [BALANCE.penalty(part, ALL[: len(part[0])], counts) for part in parts]
    loss.backward()
    torch.stack(shares).sum().backward()
    torch.testing.assert_close(torch.stack(shares).sum(), loss)
    for one, other in zip(whole, parted, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_balanced_experts_give_as_much_as_a_token_has_experts():
    # token n prefers experts n and n + 1: every expert is first once and second once
    tokens = torch.arange(E)
    even = torch.zeros(E, E)
    even[tokens, tokens], even[tokens, (tokens + 1) % E] = 2.0, 1.0
    counted = torch.ones(E, dtype=torch.bool)
    counts = BALANCE.counts([even], counted)
    assert counts.tolist() == [[2] * E]
    assert BALANCE.penalty([even], counted, counts.float()).item() / E == pytest.approx(K)
    assert expert_use(counts) == pytest.approx(
        {"expert_share_min": 1 / E, "expert_share_max": 1 / E, "expert_entropy": 1.0}
    )


def test_the_use_of_experts_is_the_worst_layers_share_and_the_mean_evenness():
    # one layer even over 4; one with all tokens on two: entropy ln 2 of ln 4
    used = expert_use(torch.tensor([[5, 5, 5, 5], [10, 10, 0, 0]]))
    assert used == pytest.approx({"expert_share_min": 0.0, "expert_share_max": 0.5, "expert_entropy": 0.75})
