"""What a format costs: bits per byte of each on the same validation rows, each computed by what will run it.

A Hugging Face folder is run by transformers in float32, GGUF files by llama.cpp with its own defaults.
"""

from pathlib import Path

import numpy as np
import torch

from gristmill.evaluate.bits_per_byte import NOT_TEXT, bits_of, nats_and_bytes
from gristmill.evaluate.checkpoints import load_model
from gristmill.export.llama import LlamaCppModel
from gristmill.tokens.reader import TokenShards
from gristmill.tokens.tokenizer import Vocabulary, token_bytes

SPLIT = "validation"


def open_shards(tokens: Path, model: Path) -> TokenShards:
    """The token shards in folder `tokens`. Raises ValueError when they are not of the model's tokenizer."""
    shards, vocabulary = TokenShards(tokens), Vocabulary.load(model)
    if shards.token_bytes.tolist() != token_bytes(vocabulary.tokenizer, vocabulary.size):
        raise ValueError(f"{tokens}: another tokenizer than the model's made these token shards")
    return shards


def bits_per_byte_of_folder(folder: Path, shards: TokenShards, *, rows: int) -> float:
    """Of a model folder on the first `rows` validation rows, by transformers in float32 on the CPU."""
    model, _ = load_model(folder, torch.device("cpu"))
    return bits_of(*nats_and_bytes(model, shards, SPLIT, rows=range(min(rows, shards.rows(SPLIT)))))


def bits_per_byte_of_gguf(path: Path, shards: TokenShards, *, rows: int, threads: int = 1) -> float:
    """Of a GGUF file on the first `rows` validation rows, by llama.cpp. Raises ValueError without it."""
    model = LlamaCppModel(path, context=shards.meta["seq_len"], threads=threads)
    nats = text_bytes = 0.0
    for row in shards.read(SPLIT, range(min(rows, shards.rows(SPLIT)))):
        targets = np.where(shards.token_bytes[row[1:]] > 0, row[1:], NOT_TEXT)
        losses = torch.nn.functional.cross_entropy(
            torch.from_numpy(model.logits(row[:-1].tolist())), torch.from_numpy(targets), reduction="none"
        )  # NOT_TEXT is what it leaves out
        nats += losses.sum(dtype=torch.float64).item()
        text_bytes += float(shards.token_bytes[row[1:]].sum())
    model.close()
    return bits_of(nats, text_bytes)
