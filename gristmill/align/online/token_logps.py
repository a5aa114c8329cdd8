"""Log-probabilities of each token of sampled answers, with gradient.

The answers of one prompt follow it in one row, each blind to the others (`lay_out` of gristmill.evaluate.logps), so a
group's prompt is computed once. Logits exist only where a token was sampled, and in the backward pass one block at a
time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import forward, lay_out

CPU_BLOCK_ROWS = 128
GPU_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Scored:
    """Numbers of each token of C answers, left-aligned: [C, T], zero where an answer has ended."""

    logps_CT: Tensor
    entropy_CT: Tensor
    """Nats of the whole distribution that the token was drawn from; without gradient."""
    hidden_CTD: Tensor | None
    """What the model knew before the token: the last hidden state, without gradient, where it was asked for."""

    @classmethod
    def joined(cls, pieces: Sequence[Self]) -> Self:
        """Of all answers of some pieces, in order."""
        hidden = [piece.hidden_CTD for piece in pieces if piece.hidden_CTD is not None]
        return cls(
            torch.cat([piece.logps_CT for piece in pieces]),
            torch.cat([piece.entropy_CT for piece in pieces]),
            torch.cat(hidden) if hidden else None,
        )


def score_tokens(
    model: PreTrainedModel,
    rows: Sequence[Branches],
    *,
    longest: int,
    temperature: float = 1.0,
    with_hidden: bool = False,
) -> Scored:
    """Scores of the completions of all rows, in their order. longest: T, no less than any completion has.

    temperature: that of the sampling, so that the distribution is the one the tokens came from.
    """
    batch = lay_out(rows)
    device = model.device
    logits_NV, hidden_ND = forward(model, batch)
    logps_N, entropy_N = _TokenLogps.apply(logits_NV, batch.targets_N.to(device), temperature)
    completions = sum(len(row.completions) for row in rows)
    at = (batch.completion_N.to(device), batch.place_N.to(device))
    return Scored(
        logps_CT=_aligned(logps_N, at, completions, longest),
        entropy_CT=_aligned(entropy_N, at, completions, longest),
        hidden_CTD=_aligned(hidden_ND.detach().float(), at, completions, longest) if with_hidden else None,
    )


def _aligned(values_N: Tensor, at: tuple[Tensor, Tensor], completions: int, longest: int) -> Tensor:
    empty = values_N.new_zeros(completions, longest, *values_N.shape[1:])
    return empty.index_put(at, values_N)


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logps, entropies = [], []
        rows = CPU_BLOCK_ROWS if logits_NV.device.type == "cpu" else GPU_BLOCK_ROWS
        for logits, targets in zip(logits_NV.split(rows), targets_N.split(rows), strict=True):
            all_logps = (logits.float() / temperature).log_softmax(dim=1)
            logps.append(all_logps.gather(1, targets[:, None])[:, 0])
            entropies.append(-(all_logps.exp() * all_logps).sum(dim=1))
        ctx.save_for_backward(logits_NV, targets_N)
        ctx.temperature = temperature
        entropy_N = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy_N)
        return torch.cat(logps), entropy_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logits_NV, targets_N = ctx.saved_tensors
        gradient_NV = torch.empty_like(logits_NV)
        rows = CPU_BLOCK_ROWS if logits_NV.device.type == "cpu" else GPU_BLOCK_ROWS
        blocks = (tensor.split(rows) for tensor in (logits_NV, targets_N, gradients[0], gradient_NV))
        for logits, targets, outer, gradient in zip(*blocks, strict=True):
            # ∂ ln p(target) / ∂ logits = (onehot − p) / temperature
            probabilities = (logits.float() / ctx.temperature).softmax(dim=1)
            scale = outer[:, None] / ctx.temperature
            gradient.copy_(-probabilities.mul_(scale).scatter_add_(1, targets[:, None], -scale))
        return gradient_NV, None, None
