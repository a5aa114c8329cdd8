"""Bits per byte: how many bits a model needs for a byte of text, comparable across tokenizers.

Σ nats over the targets that stand for text / (ln 2 · Σ bytes of those targets). Special tokens, padding among them,
count neither as nats nor as bytes. For a masked language model the targets are hidden tokens, each guessed from both
sides: such bits compare masked models with one another, not with the bits per byte of a text.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.model.documents import document_arguments
from gristmill.tokens.masking import Masking
from gristmill.tokens.reader import TokenShards

LOGITS_PER_BATCH = 2**25  # 128 MiB in float32
NOT_TEXT = -100
Examples = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""Rows [n, T] and their numbers [n] → inputs and targets, of one shape; a target that does not count is NOT_TEXT."""


def next_tokens(rows: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Each token but the first is predicted from those before it."""
    return rows[:, :-1], rows[:, 1:]


def masked_tokens(masking: Masking) -> Examples:
    """15 % of the text's tokens are hidden, and predicted from all others."""

    def examples(rows: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        seen, guessed = masking.for_validation(rows.numpy(), numbers)
        return torch.from_numpy(seen), rows.where(torch.from_numpy(guessed), NOT_TEXT)

    return examples


def bits_per_byte(model: PreTrainedModel, shards: TokenShards, split: str) -> float:
    """Bits per byte of a model on all rows of a split of token shards, on the model's device and in its precision."""
    return bits_of(*nats_and_bytes(model, shards, split, rows=range(shards.rows(split))))


def bits_of(nats: float, text_bytes: float) -> float:
    """Bits per byte from sums. Raises ValueError when there was no text to measure."""
    if not text_bytes:
        raise ValueError(
            "no text to measure bits per byte on: the split of the token shards is empty or all special tokens"
        )
    return nats / (math.log(2) * text_bytes)


@torch.no_grad()
def nats_and_bytes(
    model: PreTrainedModel,
    shards: TokenShards,
    split: str,
    *,
    rows: Sequence[int],
    counted: int | None = None,
    documents_apart: bool = False,
    examples: Examples = next_tokens,
) -> tuple[float, float]:
    """Sums over some rows of a split: nats of the targets that stand for text, and their bytes.

    counted: so many of them, the first ones; the others are run through the model all the same. None: all.
    documents_apart: no token sees another document of its row.
    """
    token_bytes = torch.from_numpy(shards.token_bytes.astype("int64"))
    rows_per_batch = max(1, LOGITS_PER_BATCH // (shards.meta["seq_len"] * model.config.vocab_size))
    nats = text_bytes = 0.0
    was_training = model.training
    model.eval()
    for first in range(0, len(rows), rows_per_batch):
        numbers = rows[first : first + rows_per_batch]
        inputs, targets = examples(torch.from_numpy(shards.read(split, numbers)), numbers)
        bytes_of_targets = token_bytes[targets.clamp_min(0)].where(targets != NOT_TEXT, 0)
        if counted is not None:
            bytes_of_targets[max(0, counted - first) :] = 0
        apart = {}
        if documents_apart:
            documents = torch.from_numpy(shards.document_ids(split, numbers))[:, : inputs.shape[1]]
            apart = document_arguments(documents.to(model.device), causal=examples is next_tokens)
        nats += _summed_nats(model, inputs, targets.where(bytes_of_targets > 0, NOT_TEXT), apart)
        text_bytes += bytes_of_targets.sum().item()
    model.train(was_training)
    return nats, text_bytes


def _summed_nats(model: PreTrainedModel, inputs_BT: Tensor, targets_BT: Tensor, apart: Mapping[str, Tensor]) -> float:
    logits_BTV = model(input_ids=inputs_BT.to(model.device), use_cache=False, **apart).logits
    losses = torch.nn.functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), targets_BT.flatten().to(model.device), ignore_index=NOT_TEXT, reduction="none"
    )
    return losses.sum(dtype=torch.float64).item()
