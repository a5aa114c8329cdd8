"""Advantages and losses by hand, by brute force, and by TRL's GRPO."""

import math
from pathlib import Path

import pytest
import torch

from gristmill.align.online.advantages import (
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    whitened,
)
from gristmill.align.online.losses import kl_estimate, kl_penalty, policy_loss, token_weights, value_loss

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def test_group_advantages_compare_answers_of_the_same_prompt_only():
    easy_and_hard = torch.tensor([[0.0, 1.0], [100.0, 101.0]])
    advantages = group_advantages(easy_and_hard, standardize=True)
    assert torch.allclose(advantages[0], advantages[1])
    # by hand: centered ∓.5, standard deviation sqrt(.5)
    assert advantages[0, 1].item() == pytest.approx(0.5 / (math.sqrt(0.5) + 1e-4))
    assert group_advantages(easy_and_hard, standardize=False).tolist() == [[-0.5, 0.5], [-0.5, 0.5]]


def test_a_group_of_equal_rewards_teaches_nothing():
    assert group_advantages(torch.tensor([[3.0, 3.0, 3.0]]), standardize=True).tolist() == [[0, 0, 0]]


def test_leave_one_out_compares_with_the_mean_of_the_others():
    assert leave_one_out_advantages(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_advantages_over_tokens_are_discounted_sums_of_surprises():
    rewards = torch.tensor([[0.1, 0.0, 1.0], [2.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 0.2, 0.4], [1.5, 9.0, 9.0]])  # what stands behind an answer's end must not count
    gamma, lam = 0.9, 0.8
    advantages, returns = generalized_advantages(rewards, values, MASK, gamma=gamma, lam=lam)
    surprises = [0.1 + gamma * 0.2 - 0.5, gamma * 0.4 - 0.2, 1.0 - 0.4]
    expected = [sum((gamma * lam) ** (k - t) * surprises[k] for k in range(t, 3)) for t in range(3)]
    assert advantages[0].tolist() == pytest.approx(expected)
    assert advantages[1].tolist() == pytest.approx([0.5, 0, 0])
    assert returns.tolist() == [
        pytest.approx([e + v for e, v in zip(expected, [0.5, 0.2, 0.4], strict=True)]),
        [2, 0, 0],
    ]


def test_without_discount_and_with_lambda_one_the_return_is_the_final_reward():
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.3, 0.6, 0.7]])
    advantages, returns = generalized_advantages(rewards, values, torch.ones(1, 3), gamma=1.0, lam=1.0)
    assert returns[0].tolist() == pytest.approx([1, 1, 1])
    assert advantages[0].tolist() == pytest.approx([0.7, 0.4, 0.3])


def test_whitened_values_have_mean_zero_and_variance_one_where_they_count():
    values = whitened(torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, 100.0]]), MASK)
    counted = values[MASK.bool()]
    assert counted.mean().item() == pytest.approx(0, abs=1e-6)
    assert counted.var(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    assert values[1, 1:].tolist() == [0, 0]


def test_tokens_count_by_answer_by_token_or_by_a_constant():
    assert token_weights(MASK, "answer", max_tokens=8).tolist() == [[pytest.approx(1 / 6)] * 3, [0.5, 0, 0]]
    assert token_weights(MASK, "token", max_tokens=8).tolist() == [[0.25] * 3, [0.25, 0, 0]]
    assert token_weights(MASK, "constant", max_tokens=8).tolist() == [[1 / 16] * 3, [1 / 16, 0, 0]]


def test_the_clipped_surrogate_by_hand():
    # ratios 1.5 (good, cut at 1.2), 0.5 (good, kept), 1.5 (bad, kept), 0.5 (bad, cut at .8)
    old = torch.zeros(1, 4)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 0.5]]))
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    loss = policy_loss(new, old, advantages, torch.ones(1, 4), clip_eps_low=0.2, clip_eps_high=0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8))
    wider = policy_loss(new, old, advantages, torch.ones(1, 4), clip_eps_low=0.2, clip_eps_high=0.28)
    assert wider.item() == pytest.approx(-(1.28 + 0.5 - 1.5 - 0.8))


def test_where_the_ratio_is_one_the_gradient_is_that_of_reinforce():
    logps = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    weights, advantages = torch.tensor([[0.5, 0.25]]), torch.tensor([[2.0, -3.0]])
    policy_loss(logps, logps.detach(), advantages, weights, clip_eps_low=0.2, clip_eps_high=0.2).backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [[-1.0, 0.75]]


def test_the_kl_estimate_is_never_negative_and_unbiased():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])
    estimates = kl_estimate(p.log(), q.log())
    assert (estimates >= 0).all()
    exact = (p * (p / q).log()).sum()
    assert (p * estimates).sum().item() == pytest.approx(exact.item(), abs=1e-6)


def test_the_gradient_of_the_kl_penalty_is_that_of_the_divergence_on_the_mean():
    logits = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    reference = torch.tensor([0.5, 0.25, 0.25]).log()
    logps = logits.log_softmax(dim=0)
    exact = (logps.exp() * (logps - reference)).sum()
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    # the mean over what may be sampled, with the weight of each being its probability
    estimate = kl_penalty(logps, logps.detach(), reference, logps.detach().exp())
    (found,) = torch.autograd.grad(estimate, logits)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_value_loss_gives_no_credit_for_large_moves():
    values, old, returns = torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    loss = value_loss(values, old, returns, torch.full((1, 2), 0.5), clip_eps=0.2)
    # the first jumped to the right answer: counted as if it had moved by .2; the second moved by .1
    assert loss.item() == pytest.approx(0.5 * 0.5 * (0.8**2 + 0.9**2))


@pytest.mark.parametrize(("loss", "trl_loss"), [("answer", "grpo"), ("token", "dapo"), ("constant", "dr_grpo")])
def test_the_group_relative_loss_is_trls(tiny_model: Path, tmp_path: Path, loss: str, trl_loss: str):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from gristmill.align.online.token_logps import score_tokens
    from gristmill.evaluate.branches import Branches

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.eval()
    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        beta=0.04,
        epsilon=0.2,
        epsilon_high=0.28,
        loss_type=trl_loss,
        max_completion_length=5,
        per_device_train_batch_size=2,
        num_generations=2,
        temperature=0.7,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    trainer = GRPOTrainer(
        model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["a"]}),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )
    completions = [[40, 41, 42, 43], [50, 51]]
    rows = [Branches([10, 11, 12], completions)]
    mask = torch.tensor([[1.0] * 4, [1.0, 1.0, 0, 0]])
    advantages = torch.tensor([0.8, -0.6])
    generator = torch.Generator().manual_seed(1)
    logps = score_tokens(model, rows, longest=4, temperature=0.7).logps_CT
    old = (logps.detach() + 0.3 * torch.randn(2, 4, generator=generator)) * mask
    reference = (logps.detach() + 0.3 * torch.randn(2, 4, generator=generator)) * mask
    weights = token_weights(mask, loss, max_tokens=5)  # pyright: ignore[reportArgumentType]
    ours = policy_loss(logps, old, advantages[:, None] * mask, weights, clip_eps_low=0.2, clip_eps_high=0.28)
    ours = ours + 0.04 * kl_penalty(logps, old, reference, weights)

    padded = torch.tensor([[*row, *[1] * (4 - len(row))] for row in completions])
    trainer.current_gradient_accumulation_steps = 1
    theirs = trainer._compute_loss(
        model,
        {
            "prompt_ids": torch.tensor([[10, 11, 12]] * 2),
            "prompt_mask": torch.ones(2, 3, dtype=torch.long),
            "completion_ids": padded,
            "completion_mask": mask.long(),
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            "num_items_in_batch": mask.sum(),
        },
    )
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
