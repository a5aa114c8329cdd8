"""Packed rows read as separate documents: attention ends where a document does, and its positions begin at 0.

With this a packed row gives the losses that its documents would give alone. The mask goes to SDPA, which computes with
it everywhere but runs its FlashAttention kernel only without one. Left out: variable-length attention (`cu_seqlens`).
"""

import torch
from torch import Tensor


def document_arguments(document_ids_BT: Tensor, *, causal: bool = True) -> dict[str, Tensor]:
    """What a transformers model takes to keep documents apart: `attention_mask` and `position_ids`.

    document_ids_BT: [B, T] int64, as of `TokenShards.document_ids`; the padding of a row counts as a document.
    attention_mask: bool [B, 1, query, key], true where a token may look. position_ids: [B, T], from each document's
    beginning. causal: tokens look back alone; a masked language model's look both ways.
    """
    seen_BTT = document_ids_BT[:, :, None] == document_ids_BT[:, None, :]
    if causal:
        seen_BTT = seen_BTT.tril()
    return {"attention_mask": seen_BTT[:, None], "position_ids": positions(document_ids_BT)}


def positions(document_ids_BT: Tensor) -> Tensor:
    """[B, T]: how far each token stands from the beginning of its document."""
    places_BT = torch.arange(document_ids_BT.shape[1], device=document_ids_BT.device).expand(document_ids_BT.shape)
    begins_BT = torch.ones_like(document_ids_BT, dtype=torch.bool)
    begins_BT[:, 1:] = document_ids_BT[:, 1:] != document_ids_BT[:, :-1]
    return places_BT - places_BT.where(begins_BT, 0).cummax(dim=1).values
