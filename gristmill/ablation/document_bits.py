"""Bits of a document under a language model."""

import math
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from gristmill.tokens.tokenizer import Vocabulary, token_bytes

ROWS_PER_BATCH = 32
NOT_TEXT = -100


class DocumentReader:
    """A model and its tokenizer, ready to measure texts."""

    def __init__(self, model: PreTrainedModel, folder: Path) -> None:
        self._model = model.eval()
        self._vocabulary = Vocabulary.load(folder)
        self._bytes = np.array(token_bytes(self._vocabulary.tokenizer, self._vocabulary.size))
        self._context: int = model.config.max_position_embeddings

    @torch.no_grad()
    def bits_and_bytes(self, text: str) -> tuple[float, int]:
        """Σ −log₂ p of all tokens of a text, and their bytes. Every `context` tokens the document start begins anew, as
        in the rows of training."""
        ids = np.array(self._vocabulary.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
        rows = -(-len(ids) // self._context)
        targets = np.full((rows, self._context), NOT_TEXT)
        targets.reshape(-1)[: len(ids)] = ids
        inputs = np.full_like(targets, self._vocabulary.bos_id)
        inputs[:, 1:] = targets[:, :-1]
        inputs[inputs == NOT_TEXT] = self._vocabulary.pad_id  # behind the end, where causal attention never looks
        nats = sum(
            self._nats(inputs[first : first + ROWS_PER_BATCH], targets[first : first + ROWS_PER_BATCH])
            for first in range(0, rows, ROWS_PER_BATCH)
        )
        return nats / math.log(2), int(self._bytes[ids].sum())

    def _nats(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        device = self._model.device
        logits = self._model(input_ids=torch.from_numpy(inputs).to(device), use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            torch.from_numpy(targets).flatten().to(device),
            ignore_index=NOT_TEXT,
            reduction="none",
        )
        return losses.sum(dtype=torch.float64).item()
