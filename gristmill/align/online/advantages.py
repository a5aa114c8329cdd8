"""How much better than expected an answer, or a token of it, was. P prompts, G answers of each, C = P·G answers."""

import torch
from torch import Tensor

EPS = 1e-4


def group_advantages(rewards_PG: Tensor, *, standardize: bool) -> Tensor:
    """Rewards less the mean of their prompt's group, [P, G]; a row of equal rewards becomes zeros.

    standardize: divide by the group's standard deviation (GRPO; Shao et al. 2024, arXiv:2402.03300). Without, a group
    of small differences counts no more than it should (Dr. GRPO; Liu et al. 2025, arXiv:2503.20783).
    """
    centered_PG = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    return centered_PG / (rewards_PG.std(dim=1, keepdim=True) + EPS) if standardize else centered_PG


def leave_one_out_advantages(rewards_PG: Tensor) -> Tensor:
    """Rewards less the mean of the group's other rewards (RLOO; Ahmadian et al. 2024, arXiv:2402.14740). [P, G]"""
    others = rewards_PG.shape[1] - 1
    return rewards_PG - (rewards_PG.sum(dim=1, keepdim=True) - rewards_PG) / others


def generalized_advantages(
    rewards_CT: Tensor, values_CT: Tensor, mask_CT: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (Schulman et al. 2016, arXiv:1506.02438), each answer an episode.

    rewards, values, mask: [C, T], answers left-aligned, mask 1 at their tokens. values: the critic's guess before the
    token. Returns advantages and the returns that the critic should have guessed, both zero outside the mask.
    """
    advantages_CT = torch.zeros_like(rewards_CT)
    following_C = torch.zeros_like(rewards_CT[:, 0])
    for place in range(rewards_CT.shape[1] - 1, -1, -1):
        is_last = place + 1 == rewards_CT.shape[1]
        # an answer ends at its last token: nothing follows it
        next_value_C = 0.0 if is_last else values_CT[:, place + 1] * mask_CT[:, place + 1]
        surprise_C = rewards_CT[:, place] + gamma * next_value_C - values_CT[:, place]
        following_C = (surprise_C + gamma * lam * following_C) * mask_CT[:, place]
        advantages_CT[:, place] = following_C
    return advantages_CT, (advantages_CT + values_CT) * mask_CT


def whitened(values_CT: Tensor, mask_CT: Tensor) -> Tensor:
    """Values of mean 0 and variance 1 over the mask (biased variance); zero outside."""
    count = mask_CT.sum()
    mean = (values_CT * mask_CT).sum() / count
    variance = ((values_CT - mean).square() * mask_CT).sum() / count
    return (values_CT - mean) * (variance + 1e-8).rsqrt() * mask_CT
