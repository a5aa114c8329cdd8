"""The losses of online alignment. C answers, T tokens of the longest; masks are 1 at an answer's tokens, else 0.

Each loss is a sum over the tokens at hand with weights that come from the whole batch, so that micro-batches add up to
exactly the loss of the batch.
"""

from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["answer", "token", "constant"]


def token_weights(mask_CT: Tensor, aggregation: Aggregation, *, max_tokens: int) -> Tensor:
    """What each token counts in the batch's loss, [C, T].

    answer: the mean over an answer's tokens, then over answers (GRPO, arXiv:2402.03300). token: the mean over all
    tokens (DAPO, arXiv:2503.14476), so that long answers count more. constant: the sum over an answer divided by
    `max_tokens`, what the longest may have (Dr. GRPO, arXiv:2503.20783), so that length has no weight of its own.
    """
    if aggregation == "token":
        return mask_CT / mask_CT.sum().clamp_min(1)
    if aggregation == "constant":
        return mask_CT / (len(mask_CT) * max_tokens)
    return mask_CT / mask_CT.sum(dim=1, keepdim=True).clamp_min(1) / len(mask_CT)


def policy_loss(
    logps_CT: Tensor,
    old_logps_CT: Tensor,
    advantages_CT: Tensor,
    weights_CT: Tensor,
    *,
    clip_eps_low: float,
    clip_eps_high: float,
) -> Tensor:
    """The clipped surrogate (PPO; Schulman et al. 2017, arXiv:1707.06347); the upper bound may be wider (DAPO).

    logps, old_logps: ln p of the sampled tokens now and when they were sampled.
    """
    ratio_CT = (logps_CT - old_logps_CT).exp()
    clipped_CT = ratio_CT.clamp(1 - clip_eps_low, 1 + clip_eps_high)
    surrogate_CT = torch.minimum(ratio_CT * advantages_CT, clipped_CT * advantages_CT)
    return -(surrogate_CT * weights_CT).sum()


def kl_estimate(logps_CT: Tensor, ref_logps_CT: Tensor) -> Tensor:
    """KL(policy ‖ reference) of each token, unbiased and never negative (k3; joschu.net/blog/kl-approx)."""
    gap_CT = ref_logps_CT - logps_CT
    return gap_CT.exp() - gap_CT - 1


def kl_penalty(logps_CT: Tensor, old_logps_CT: Tensor, ref_logps_CT: Tensor, weights_CT: Tensor) -> Tensor:
    """The estimate above, times the ratio of new to old probability: then its gradient is the divergence's too.

    DeepSeek-V3.2 (2025, arXiv:2512.02556): the estimate alone is unbiased, its gradient is not.
    """
    ratio_CT = (logps_CT - old_logps_CT).exp()
    return (ratio_CT * kl_estimate(logps_CT, ref_logps_CT) * weights_CT).sum()


def value_loss(
    values_CT: Tensor, old_values_CT: Tensor, returns_CT: Tensor, weights_CT: Tensor, *, clip_eps: float
) -> Tensor:
    """Half the squared error of the critic; a guess that moved further than `clip_eps` gets no credit for it (PPO)."""
    clipped_CT = old_values_CT + (values_CT - old_values_CT).clamp(-clip_eps, clip_eps)
    error_CT = torch.maximum((values_CT - returns_CT).square(), (clipped_CT - returns_CT).square())
    return 0.5 * (error_CT * weights_CT).sum()
