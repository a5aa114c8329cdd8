"""Tokens spread evenly over the experts of a mixture: the load-balancing loss, from counts over the whole batch.

Per layer l, E · Σ_e f_le · P_le with f the assignments to expert e per token (they sum to experts_per_token) and P the
router's mean probability (Fedus et al. 2022, arXiv:2101.03961, eq. 4 to 6), the mean over layers. Balanced experts give
experts_per_token. transformers pools the layers of Qwen3Moe before it multiplies, so that one layer may make up for
another; with one layer the two are the same.

f has no gradient, so the loss is linear in the probabilities, and the gradients of micro-batches and processes add up
to that of the batch, provided that all use the batch's f (Qiu et al. 2025, arXiv:2501.11873: better than each its own).
That f must be known before the first backward pass. With one micro-batch a process it is counted between forward and
backward. With several, a forward pass without gradients counts first: a third more work, and the exact loss whatever
micro_rows and the number of processes are. Counts of the step before would be free, but they are another loss.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Balance:
    """The sizes of a mixture of experts, and the weight of its load-balancing loss."""

    weight: float
    experts: int
    experts_per_token: int
    module: str
    """Where the model's class stands, with transformers' own loss."""

    def counts(self, router_logits: Iterable[Tensor], counted_N: Tensor) -> Tensor:
        """Tokens assigned to each expert, int64 [L, E]. router_logits: L times [N, E]; counted_N: those that count."""
        return torch.stack(
            [
                torch.bincount(self._chosen(logits_NE)[counted_N].flatten(), minlength=self.experts)
                for logits_NE in router_logits
            ]
        )

    def penalty(self, router_logits: Iterable[Tensor], counted_N: Tensor, counts_LE: Tensor) -> Tensor:
        """This part's share of the loss times the batch's tokens: the parts' sum over the tokens is the loss.

        counts_LE: those of the whole batch.
        """
        loads_LE = counts_LE * self.experts_per_token / counts_LE.sum(dim=1, keepdim=True)
        layers = [
            (loads_E * _probabilities(logits_NE)[counted_N]).sum()
            for logits_NE, loads_E in zip(router_logits, loads_LE, strict=True)
        ]
        return self.experts * torch.stack(layers).mean()

    def _chosen(self, logits_NE: Tensor) -> Tensor:
        """The experts of each token, as the router itself chooses them: [N, experts_per_token]."""
        return _probabilities(logits_NE).topk(self.experts_per_token, dim=-1).indices


def expert_use(counts_LE: Tensor) -> dict[str, float]:
    """How evenly the experts are used: the smallest and largest share of a layer's tokens, and the entropy of the
    shares, the mean over layers, over its largest value; 1 is perfectly even."""
    shares_LE = counts_LE.double() / counts_LE.sum(dim=1, keepdim=True)
    entropy_L = torch.special.entr(shares_LE).sum(dim=1)
    evenness = entropy_L.mean() / torch.tensor(float(counts_LE.shape[1])).log()
    return {
        "expert_share_min": shares_LE.min().item(),
        "expert_share_max": shares_LE.max().item(),
        "expert_entropy": evenness.item(),
    }


def _probabilities(logits_NE: Tensor) -> Tensor:
    return logits_NE.softmax(dim=-1, dtype=torch.float32)
