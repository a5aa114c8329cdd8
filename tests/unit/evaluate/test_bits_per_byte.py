import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gristmill.evaluate.bits_per_byte import bits_by_group, bits_per_byte, nats_and_bytes, sums_by_group
from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.tokens.groups import RowGroups
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


def write_index(folder, pieces):
    """pieces: (row, start, length, source, language) of the validation split."""
    names = ("row", "start", "length", "source", "language")
    rows = [{"split": "validation", **dict(zip(names, piece, strict=True))} for piece in pieces]
    pq.write_table(
        pa.Table.from_pylist([*rows, {**rows[0], "split": "train", "language": "fr"}]), folder / "index.parquet"
    )


def test_each_language_and_source_gets_the_bits_of_its_own_text(shards, uniform_model, tmp_path):
    # row 0: 3, 4 of one document, then 5 and an end of text of another; row 1 is a third one
    pieces = [(0, 0, 3, "web", "uk"), (0, 3, 2, "web", "en"), (1, 0, 3, "books", None)]
    write_index(tmp_path, pieces)
    groups = RowGroups(tmp_path, "validation")
    assert groups.names == [("books", "unknown"), ("web", "en"), ("web", "uk")]
    assert groups.read([1, 0], seq_len=4).tolist() == [[0, 0, 0, -1, -1], [2, 2, 2, 1, 1]]
    sums = sums_by_group(uniform_model, shards, "validation", rows=range(2), groups=groups)
    nats = math.log(8)
    assert sums == pytest.approx(np.array([[2 * nats, 9], [nats, 3], [2 * nats, 3], [0, 0]]))
    bits = bits_by_group(sums, groups)
    assert bits == pytest.approx(
        {
            "bits_per_byte": bits_per_byte(uniform_model, shards, "validation"),
            "bits_per_byte_language_en": 3 * 1 / 3,
            "bits_per_byte_language_uk": 3 * 2 / 3,
            "bits_per_byte_language_unknown": 3 * 2 / 9,
            "bits_per_byte_source_books": 3 * 2 / 9,
            "bits_per_byte_source_web": 3 * 3 / 6,
        }
    )


def test_text_of_one_kind_has_one_number(shards, uniform_model, tmp_path):
    write_index(tmp_path, [(0, 0, 5, "web", "uk"), (1, 0, 3, "web", "uk")])
    groups = RowGroups(tmp_path, "validation")
    sums = sums_by_group(uniform_model, shards, "validation", rows=range(2), groups=groups)
    assert list(bits_by_group(sums, groups)) == ["bits_per_byte"]


def test_text_that_the_index_does_not_know_counts_in_the_whole(shards, uniform_model, tmp_path):
    write_index(tmp_path, [(0, 0, 3, "web", "uk"), (0, 3, 2, "web", "en")])
    groups = RowGroups(tmp_path, "validation")
    bits = bits_by_group(sums_by_group(uniform_model, shards, "validation", rows=range(2), groups=groups), groups)
    assert bits["bits_per_byte"] == pytest.approx(bits_per_byte(uniform_model, shards, "validation"))
    assert bits["bits_per_byte_language_uk"] == pytest.approx(2.0)
