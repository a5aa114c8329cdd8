"""Divergence from the model that training starts with: what holds a model to what it knew.

KL(start ‖ model) of the next token, over the vocabulary that the start had (as a loss that keeps old knowledge: Li and
Hoiem 2016, arXiv:1606.09282). Both are renormalized over that vocabulary, so a model is free to learn new tokens. A
prediction counts where its document has held no new token so far: after one the start, whose rows for them are only
means, has nothing to hold on to. With a vocabulary that did not grow every prediction counts.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.train.loss import CPU_BLOCK_ROWS, GPU_BLOCK_ROWS


class StartModel:
    """A frozen copy of the model as it is now, and how far another has moved from it."""

    def __init__(self, model: PreTrainedModel, *, bos_id: int, own_tokens: int) -> None:
        """own_tokens: size of the vocabulary that the model was trained with; ids from there on are new to it."""
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.bos_id, self.own_tokens = bos_id, own_tokens

    def summed_kl(
        self, inputs_BT: Tensor, targets_BT: Tensor, apart: Mapping[str, Any], logits_BTV: Tensor
    ) -> tuple[Tensor, int]:
        """Σ KL in nats over the predictions of a batch that count, and their number. Targets below 0 do not count.

        apart: what keeps documents apart (gristmill.model.documents), for both models alike.
        """
        counted = comparable(inputs_BT, targets_BT, bos_id=self.bos_id, own_tokens=self.own_tokens).flatten()
        start = self.model.to(inputs_BT.device)  # pyright: ignore[reportArgumentType]
        in_bf16 = logits_BTV.dtype == torch.bfloat16
        with torch.no_grad(), torch.autocast(inputs_BT.device.type, torch.bfloat16, enabled=in_bf16):
            start_BTV = start(input_ids=inputs_BT, use_cache=False, **apart).logits
        kl = summed_kl(logits_BTV.flatten(0, 1), start_BTV.flatten(0, 1), counted, own_tokens=self.own_tokens)
        return kl, int(counted.sum().item())


def comparable(inputs_BT: Tensor, targets_BT: Tensor, *, bos_id: int, own_tokens: int) -> Tensor:
    """bool [B, T]: which predictions count. A document begins at a BOS; which one comes next is nobody's knowledge."""
    places = torch.arange(inputs_BT.shape[1], device=inputs_BT.device).expand(inputs_BT.shape)
    begins = places.where(inputs_BT == bos_id, 0).cummax(dim=1).values
    last_new = places.where(inputs_BT >= own_tokens, -1).cummax(dim=1).values
    return (last_new < begins) & (targets_BT >= 0) & (targets_BT < own_tokens) & (targets_BT != bos_id)


def summed_kl(logits_NV: Tensor, start_NV: Tensor, counted_N: Tensor, *, own_tokens: int) -> Tensor:
    """Σ KL(start ‖ model) in nats, in float32, over the predictions that count. Gradients reach `logits_NV`."""
    total = torch.zeros((), dtype=torch.float32, device=logits_NV.device)
    block_rows = CPU_BLOCK_ROWS if logits_NV.device.type == "cpu" else GPU_BLOCK_ROWS
    for block in counted_N.nonzero().squeeze(1).split(block_rows):
        mine = logits_NV[block, :own_tokens].float().log_softmax(dim=1)
        theirs = start_NV[block, :own_tokens].float().log_softmax(dim=1)
        total = total + torch.nn.functional.kl_div(mine, theirs, reduction="sum", log_target=True)
    return total
