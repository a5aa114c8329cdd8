"""Token shards and a tokenizer small enough to train on in milliseconds."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.model.config import ModelConfig
from gristmill.train.config import PretrainRun

VOCAB_SIZE, SEQ_LEN, TRAIN_ROWS = 40, 12, 22
END, BOS, PAD, TURN_END = 0, 1, 2, 3
MIXTURE = {"family": "qwen3_moe", "experts": 4, "expert_width": 16, "head_dim": 8}
SPECIAL = ["<|endoftext|>", "<|bos|>", "<|pad|>", "<|im_end|>"]


@pytest.fixture
def token_folder(tmp_path) -> Path:
    """Rows that count up from a random token; the last row of each split is padded."""
    folder = tmp_path / "tokens"
    draws = np.random.default_rng(0)
    splits, index = {}, []
    for split, rows in (("train", TRAIN_ROWS), ("validation", 5)):
        starts, offsets = draws.integers(0, 36, (rows, 1)), np.arange(SEQ_LEN)
        text = 4 + (starts + offsets) % (VOCAB_SIZE - 4)
        tokens = np.concatenate([np.full((rows, 1), BOS), text], axis=1).astype(np.uint16)
        tokens[-1, 7:] = PAD
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "tokens-00000.npy", tokens)
        for row, kept in enumerate((tokens != PAD).sum(axis=1).tolist()):
            place = {"split": split, "row": row, "start": 0, "length": kept, "doc_id": f"{split}{row}"}
            index.append(place | {"source": "web", "language": "uk" if row % 2 else "en"})
        splits[split] = {"rows": rows, "tokens": int((tokens != PAD).sum()), "bytes": int((tokens > TURN_END).sum())}
    np.save(folder / "token_bytes.npy", np.array([0] * 4 + [1] * (VOCAB_SIZE - 4), dtype=np.int32))
    pq.write_table(pa.Table.from_pylist(index), folder / "index.parquet")
    ids = {"bos_id": BOS, "pad_id": PAD, "eos_id": END}
    meta = {"vocab_size": VOCAB_SIZE, "seq_len": SEQ_LEN, **ids, "digest": "0" * 64, "splits": splits}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def tokenizer_folder(tmp_path) -> Path:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate([*SPECIAL, *(f"w{n}" for n in range(4, VOCAB_SIZE))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=SPECIAL[END]))
    tokenizer.add_special_tokens(SPECIAL)
    folder = tmp_path / "tokenizer"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[END]).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "record.json").write_text("{}")
    return folder


@pytest.fixture
def make_run(token_folder, tokenizer_folder):
    """A run of 8 steps over 1.45 epochs; keyword arguments replace fields of its configuration."""

    def make(**fields) -> PretrainRun:
        config = {
            "tokens": 8 * 4 * SEQ_LEN,
            "batch_rows": 4,
            "micro_rows": 2,
            "schedule": {"warmup_steps": 2},
            "precision": "fp32",
            "log_every_steps": 1,
            "eval_every_steps": 3,
            "checkpoint_every_s": 0,
        }
        return PretrainRun.model_validate(
            {
                "tokens": token_folder,
                "tokenizer": tokenizer_folder,
                "model": {"depth": 1, "width": 16, "head_dim": 8},
                "config": {**config, **fields},
                "resources": {"threads": 1, "device": "cpu"},
            }
        )

    return make


@pytest.fixture
def run_of(make_run, tokenizer_folder):
    """A run of a tiny model of this family; the tokenizer has a mask token."""
    settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text())
    (tokenizer_folder / "tokenizer_config.json").write_text(json.dumps(settings | {"mask_token": "<|im_end|>"}))

    def make(family: str, model: dict | None = None, **fields) -> PretrainRun:
        sizes = MIXTURE if family == "qwen3_moe" else {"family": family, "heads": 2}
        shape = ModelConfig.model_validate({"depth": 2, "width": 16, **sizes, **(model or {})})
        return make_run(**fields).model_copy(update={"model": shape})

    return make
