"""Bits per byte: how many bits a model needs for a byte of text, comparable across tokenizers.

Σ nats over the targets that stand for text / (ln 2 · Σ bytes of those targets). Special tokens, padding among them,
count neither as nats nor as bytes. For a masked language model the targets are hidden tokens, each guessed from both
sides: such bits compare masked models with one another, not with the bits per byte of a text.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from gristmill.model.documents import document_arguments
from gristmill.tokens.groups import RowGroups
from gristmill.tokens.masking import Masking
from gristmill.tokens.reader import TokenShards

CPU_LOGITS_PER_BATCH = 2**25  # 128 MiB in float32
GPU_LOGITS_PER_BATCH = 2**28
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


def logits_per_batch(device: torch.device) -> int:
    """Logits of a forward pass that measures: what fits beside the model, and is quick."""
    return CPU_LOGITS_PER_BATCH if device.type == "cpu" else GPU_LOGITS_PER_BATCH


def bits_of(nats: float, text_bytes: float) -> float:
    """Bits per byte from sums. Raises ValueError when there was no text to measure."""
    if not text_bytes:
        raise ValueError(
            "no text to measure bits per byte on: the split of the token shards is empty or all special tokens"
        )
    return nats / (math.log(2) * text_bytes)


def bits_by_group(sums: NDArray[np.float64], groups: RowGroups, *, metric: str = "bits_per_byte") -> dict[str, float]:
    """The metric of all text, and of each language and source where there are several.

    sums: [groups + 1, 2], as of `sums_by_group`. Names are such as `bits_per_byte_language_uk` and
    `bits_per_byte_source_web`. Raises as `bits_of`; a group without text has no number.
    """
    found = {metric: bits_of(*sums.sum(axis=0))}
    for place, kind in ((1, "language"), (0, "source")):
        names = sorted({name[place] for name in groups.names})
        for name in names if len(names) > 1 else []:
            mine = sums[:-1][[group[place] == name for group in groups.names]].sum(axis=0)
            if mine[1]:
                found[f"{metric}_{kind}_{name}"] = bits_of(*mine)
    return found


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
    how = {"examples": examples, "counted": counted, "documents_apart": documents_apart}
    nats, text_bytes = sums_by_group(model, shards, split, rows=rows, groups=None, **how)[0].tolist()
    return nats, text_bytes


@torch.no_grad()
def sums_by_group(
    model: PreTrainedModel,
    shards: TokenShards,
    split: str,
    *,
    rows: Sequence[int],
    groups: RowGroups | None,
    counted: int | None = None,
    documents_apart: bool = False,
    examples: Examples = next_tokens,
) -> NDArray[np.float64]:
    """float64 [groups + 1, 2]: nats and bytes as of `nats_and_bytes`, one row for each of `groups.names`, the last for
    tokens of none of them."""
    token_bytes = torch.from_numpy(shards.token_bytes.astype("int64"))
    rows_per_batch = max(1, logits_per_batch(model.device) // (shards.meta["seq_len"] * model.config.vocab_size))
    sums = np.zeros((len(groups.names) + 1 if groups else 1, 2))
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
            apart = document_arguments(documents.to(model.device), model.config, causal=examples is next_tokens)
        nats = nats_of_targets(model, inputs, targets.where(bytes_of_targets > 0, NOT_TEXT), apart)
        values = np.stack([nats, bytes_of_targets.numpy().ravel().astype(np.float64)], axis=1)
        if groups:
            places = groups.read(numbers, seq_len=shards.meta["seq_len"])[:, -targets.shape[1] :].ravel()
            np.add.at(sums, places, values)  # -1, a token of no group, is the last row
        else:
            sums += values.sum(axis=0)
    model.train(was_training)
    return sums


def nats_of_targets(
    model: PreTrainedModel, inputs_BT: Tensor, targets_BT: Tensor, apart: Mapping[str, Any]
) -> NDArray[np.float64]:
    """float64 [B × T]; 0 where the target is NOT_TEXT. apart: more arguments of the model."""
    logits_BTV = model(input_ids=inputs_BT.to(model.device), use_cache=False, **apart).logits
    losses = torch.nn.functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), targets_BT.flatten().to(model.device), ignore_index=NOT_TEXT, reduction="none"
    )
    return losses.double().cpu().numpy()
