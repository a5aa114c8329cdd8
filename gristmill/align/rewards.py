"""Reward models: built from a language model, and asked for the reward of an answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gristmill.evaluate.checkpoints import load_tokenizer, placed_later

ROWS_PER_BATCH = 64


def load_reward_model(
    folder: Path, device: torch.device, *, seed: int = 0, quantization: BitsAndBytesConfig | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A reward model in float32 and its tokenizer. From a language model's folder it gets a new head, drawn by seed."""
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(seed)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, local_files_only=True, **placed_later(device, quantization)
    )
    if quantization is None:
        model.to(device)
    model.config.pad_token_id = tokenizer.pad_token_id  # it finds the last token of a row by this
    return model, tokenizer


@torch.no_grad()
def rewards(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> list[float]:
    """The reward of each row of token ids: a prompt, an answer, and the end of its turn."""
    model.eval()
    scores = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for first in range(0, len(rows), ROWS_PER_BATCH):
        batch = order[first : first + ROWS_PER_BATCH]
        longest = len(rows[batch[-1]])
        padding = [longest - len(rows[index]) for index in batch]
        ids = [[*rows[index], *[model.config.pad_token_id] * pad] for index, pad in zip(batch, padding, strict=True)]
        seen = [[1] * (longest - pad) + [0] * pad for pad in padding]
        logits = model(
            input_ids=torch.tensor(ids, device=model.device), attention_mask=torch.tensor(seen, device=model.device)
        ).logits
        for index, score in zip(batch, logits[:, 0].float().tolist(), strict=True):
            scores[index] = score
    return scores
