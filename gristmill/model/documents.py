"""Packed rows read as separate documents: attention ends where a document does, and its positions begin at 0.

With this a packed row gives the losses that its documents would give alone. The mask goes to SDPA, which computes with
it everywhere but runs its FlashAttention kernel only without one. Left out: variable-length attention (`cu_seqlens`).
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, as transformers calls them; Granite 4 calls the first `attention`."""
BY_COLUMN = ("bloom", "gpt_neo", "mpt")
"""Families whose attention takes a token's place in the row for its position, as ALiBi in Falcon does."""


def document_arguments(document_ids_BT: Tensor, config: PreTrainedConfig, *, causal: bool = True) -> dict[str, Any]:
    """What a transformers model takes to keep documents apart: `attention_mask` and `position_ids`.

    document_ids_BT: [B, T] int64, as of `TokenShards.document_ids`; the padding of a row counts as a document.
    attention_mask: bool [B, 1, query, key], true where a token may look, or as `within_window` says. position_ids:
    [B, T], from each document's beginning. causal: tokens look back alone; a masked language model's look both ways.
    """
    seen_BTT = document_ids_BT[:, :, None] == document_ids_BT[:, None, :]
    if causal:
        seen_BTT = seen_BTT.tril()
    positions_BT = positions(document_ids_BT)
    return {"attention_mask": within_window(seen_BTT[:, None], positions_BT, config), "position_ids": positions_BT}


def within_window(mask: Tensor, positions_BT: Tensor, config: PreTrainedConfig) -> Tensor | dict[str, Tensor]:
    """A mask of who may look at whom, as a model takes it whose layers look back a few tokens only (Mistral; Gemma and
    others, in some of their layers).

    transformers takes a mask of four dimensions as it is, for all layers. mask: [B, 1, query, key], bool, or added to
    attention's scores. Returns it, or one for each kind of layer. Raises ValueError for layers of another kind.
    """
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    strange = ", ".join(sorted(kinds - {FULL, SLIDING, "attention"}))
    if text.model_type in BY_COLUMN or getattr(text, "alibi", False):
        strange = "attention that counts columns"
    if strange:
        raise ValueError(
            f"{text.model_type} has {strange}; documents, or answers, that share a row are kept apart only where a "
            f"mask and positions say all, in layers of {FULL} and {SLIDING}. Use another model"
        )
    window = getattr(text, "sliding_window", None)
    if window is None or SLIDING not in (kinds or {SLIDING}) or mask.shape[-1] <= window:
        return mask
    is_far = (positions_BT[:, None, :, None] - positions_BT[:, None, None, :] >= window).to(mask.device)
    lowest = False if mask.dtype is torch.bool else torch.finfo(mask.dtype).min
    limited = mask.masked_fill(is_far, lowest)
    return {FULL: mask, SLIDING: limited} if kinds else limited


def positions(document_ids_BT: Tensor) -> Tensor:
    """[B, T]: how far each token stands from the beginning of its document."""
    places_BT = torch.arange(document_ids_BT.shape[1], device=document_ids_BT.device).expand(document_ids_BT.shape)
    begins_BT = torch.ones_like(document_ids_BT, dtype=torch.bool)
    begins_BT[:, 1:] = document_ids_BT[:, 1:] != document_ids_BT[:, :-1]
    return places_BT - places_BT.where(begins_BT, 0).cummax(dim=1).values
