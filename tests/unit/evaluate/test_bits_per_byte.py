import json
import math

import numpy as np
import pytest
import torch

from gristmill.evaluate.bits_per_byte import bits_per_byte, nats_and_bytes
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.tokens.reader import TokenShards

BOS, PAD = 1, 2
TOKEN_BYTES = [0, 0, 0, 1, 2, 3, 4, 5]
ROWS = [[BOS, 3, 4, 5, 0], [BOS, 6, 7, PAD, PAD]]


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "validation").mkdir()
    for split in ("train", "validation"):
        np.save(tmp_path / split / "tokens-00000.npy", np.array(ROWS, dtype=np.uint16))
    np.save(tmp_path / "token_bytes.npy", np.array(TOKEN_BYTES, dtype=np.int32))
    counts = {"rows": 2, "tokens": 8, "bytes": 15}
    meta = {"vocab_size": 8, "seq_len": 4, "bos_id": BOS, "pad_id": PAD, "eos_id": 0, "digest": "d"}
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "splits": {"train": counts, "validation": counts}}))
    return TokenShards(tmp_path)


@pytest.fixture
def uniform_model():
    config = ModelConfig(depth=1, width=16, head_dim=8)
    model = build_model(config, vocab_size=8, max_seq_len=4, bos_id=BOS, eos_id=0, pad_id=PAD, seed=0)
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
    return model


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary_for_each_text_token(shards, uniform_model):
    # 5 targets are text: 1 + 2 + 3 and 4 + 5 bytes; the end of text and two paddings count neither way
    assert bits_per_byte(uniform_model, shards, "validation") == pytest.approx(5 * math.log2(8) / 15)


def test_sums_over_parts_of_the_rows_add_up_to_the_whole(shards, uniform_model):
    parts = [nats_and_bytes(uniform_model, shards, "validation", rows=[row]) for row in (0, 1)]
    assert [text_bytes for _, text_bytes in parts] == [6, 9]
    assert sum(nats for nats, _ in parts) == pytest.approx(5 * math.log(8))


def test_no_text_is_an_error_not_a_zero(shards, uniform_model):
    shards.token_bytes[:] = 0
    with pytest.raises(ValueError, match="no text to measure"):
        bits_per_byte(uniform_model, shards, "validation")
