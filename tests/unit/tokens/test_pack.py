"""The stage `tokenize` and its reader: full rows, nothing lost, nothing twice."""

import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from gristmill.text.documents import read_documents, read_shard
from gristmill.tokens.config import TokenizeConfig
from gristmill.tokens.pack import run_tokenize
from gristmill.tokens.reader import TokenShards, cu_seqlens, row_order
from gristmill.tokens.tokenizer import Vocabulary
from gristmill.train.loader import BatchLoader

SPLITS = ("train", "validation")
SEQ_LEN = 64


@pytest.fixture
def packed(splits, trained, tmp_path) -> Path:
    return pack(splits, trained[0], tmp_path / "tokens")


def pack(splits: Path, tokenizer: Path, out: Path, *, workers: int = 1, **config) -> Path:
    out.mkdir()
    fields = {"seq_len": SEQ_LEN, "rows_per_shard": 50, **config}
    report = run_tokenize(splits, tokenizer, out, TokenizeConfig.model_validate(fields), workers=workers)
    (out / "report.json").write_text(report.model_dump_json())
    return out


def all_rows(shards: TokenShards, split: str) -> np.ndarray:
    return shards.read(split, range(shards.rows(split)))


def test_decoding_all_rows_gives_back_exactly_the_texts(splits, trained, packed):
    vocabulary, shards = Vocabulary.load(trained[0]), TokenShards(packed)
    rows = {split: all_rows(shards, split) for split in SPLITS}
    ids: dict[str, list[int]] = {}
    for piece in read_shard(packed / "index.parquet"):
        row = rows[piece["split"]][piece["row"]]
        assert row[piece["start"]] == vocabulary.bos_id
        assert piece["continuation"] == (piece["doc_id"] in ids)
        assert piece["start"] == 0 or not piece["continuation"]
        ids.setdefault(piece["doc_id"], []).extend(row[piece["start"] + 1 : piece["start"] + piece["length"]].tolist())
    texts = {page["doc_id"]: page["text"] for split in SPLITS for page in read_documents(splits / split)}
    assert {doc_id: vocabulary.tokenizer.decode(tokens) for doc_id, tokens in ids.items()} == texts


def test_every_document_token_is_a_target_once_and_only_the_last_row_has_padding(splits, packed):
    shards = TokenShards(packed)
    for split in SPLITS:
        rows, meta = all_rows(shards, split), shards.meta["splits"][split]
        assert (rows[:, 0] == shards.meta["bos_id"]).all()
        targets = rows[:, 1:]
        texts = [page["text"] for page in read_documents(splits / split)]
        # special tokens have no bytes, so these are the bytes of text that a loss sees
        assert shards.token_bytes[targets].sum() == sum(len(text.encode()) for text in texts) == meta["bytes"]
        assert (targets >= 4).sum() == meta["text_tokens"]
        assert meta["documents"] == len(texts)
        padding = rows == shards.meta["pad_id"]
        assert not padding[:-1].any()
        assert padding.sum() == padding[-1, -meta["padding"] :].sum() == meta["padding"]
        assert meta["tokens"] == rows.size - meta["padding"]


def test_each_piece_begins_with_a_bos_that_is_counted(packed):
    shards = TokenShards(packed)
    index = list(read_shard(packed / "index.parquet"))
    report = json.loads((packed / "report.json").read_text())["metrics"]
    for split in SPLITS:
        meta = shards.meta["splits"][split]
        pieces = [piece for piece in index if piece["split"] == split]
        assert (all_rows(shards, split) == shards.meta["bos_id"]).sum() == len(pieces)
        assert meta["continuations"] == sum(piece["continuation"] for piece in pieces) > 0
        assert meta["documents"] == len(pieces) - meta["continuations"]
        assert meta["tokens"] == meta["text_tokens"] + meta["documents"] + meta["continuations"]
    assert report["added_tokens"] == len(index)
    assert report["continuations"] == sum(piece["continuation"] for piece in index)


def test_rows_are_full_but_the_last(splits, trained, packed, tmp_path):
    """200 rows or more are 99.5 % full whatever the documents' lengths; fewer lack at most one row."""
    small = pack(splits, trained[0], tmp_path / "small", seq_len=16)
    for folder in (packed, small):
        for split, meta in TokenShards(folder).meta["splits"].items():
            assert all_rows(TokenShards(folder), split).size == meta["tokens"] + meta["padding"]
            assert 1 - meta["padding"] / (meta["tokens"] + meta["padding"]) > 1 - 1 / meta["rows"]
    assert TokenShards(small).rows("train") > 200
    assert json.loads((small / "report.json").read_text())["metrics"]["row_fill"] >= 0.995


def test_each_row_names_its_documents_piece_by_piece(packed):
    for split in SPLITS:
        found = {}
        for piece in read_shard(packed / "index.parquet"):
            if piece["split"] == split:
                assert piece["start"] == found.get(piece["row"], 0)
                found[piece["row"]] = piece["start"] + piece["length"]
        meta = TokenShards(packed).meta["splits"][split]
        assert list(found) == list(range(meta["rows"]))
        assert list(found.values())[:-1] == [SEQ_LEN + 1] * (meta["rows"] - 1)
        assert found[meta["rows"] - 1] == SEQ_LEN + 1 - meta["padding"]


def test_the_files_are_those_that_numpy_writes(packed):
    for path in packed.glob("*/tokens-*.npy"):
        content = io.BytesIO()
        np.save(content, np.load(path))
        assert path.read_bytes() == content.getvalue()


def test_document_ids_follow_the_index(packed):
    shards = TokenShards(packed)
    for split in SPLITS:
        rows, expected = all_rows(shards, split), {}
        for piece in read_shard(packed / "index.parquet"):
            if piece["split"] == split:
                expected.setdefault(piece["row"], []).extend([piece["start"]] * piece["length"])
        found = shards.document_ids(split, range(len(rows)))
        assert found.shape == rows.shape
        for number, starts in expected.items():
            filled = found[number][: len(starts)]
            assert [sorted(set(starts)).index(start) for start in starts] == filled.tolist()
            assert (found[number][len(starts) :] == -1).all()
        assert ((found == -1) == (rows == shards.meta["pad_id"])).all()
        picked = np.array([len(rows) - 1, 0, 2])
        assert (shards.document_ids(split, picked) == found[picked]).all()


def test_cu_seqlens_bound_each_document_of_a_batch():
    ids = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, -1, -1]])
    assert cu_seqlens(ids).tolist() == [0, 2, 4, 8, 9, 10, 12]
    assert cu_seqlens(ids[:, :-1]).tolist() == [0, 2, 3, 6, 7, 8, 9]


def test_a_document_without_text_is_a_start_alone(trained, write_documents, tmp_path):
    for split in SPLITS:
        write_documents(f"empty/{split}", [{"text": ""}, {"text": "a"}])
    shards = TokenShards(pack(tmp_path / "empty", trained[0], tmp_path / "tokens"))
    assert shards.meta["splits"]["train"] == shards.meta["splits"]["validation"]
    assert shards.meta["splits"]["train"] | {"bytes": 1, "documents": 2, "tokens": 3} == shards.meta["splits"]["train"]


def test_a_document_that_ends_with_its_row_has_no_empty_continuation(trained, write_documents, tmp_path):
    vocabulary = Vocabulary.load(trained[0])
    text = " ".join("ab" for _ in range(400))
    length = len(vocabulary.tokenizer.encode(text, add_special_tokens=False).ids)
    for split in SPLITS:
        write_documents(f"exact/{split}", [{"text": text}] if split == "train" else [])
    shards = TokenShards(pack(tmp_path / "exact", trained[0], tmp_path / "tokens", seq_len=length))
    expected = {"rows": 1, "documents": 1, "tokens": length + 1, "continuations": 0, "padding": 0}
    assert shards.meta["splits"]["train"] | expected == shards.meta["splits"]["train"]
    assert shards.rows("validation") == 0
    assert shards.document_ids("validation", []).shape == (0, length + 1)


def test_rows_are_read_at_random_across_shards(packed):
    shards = TokenShards(packed)
    files = sorted((packed / "train").glob("tokens-*.npy"))
    assert len(files) > 2
    stored = np.concatenate([np.load(path) for path in files])
    assert stored.dtype == np.uint16
    picked = np.array([len(stored) - 1, 0, 51, 49, 50, 0])
    rows = shards.read("train", picked)
    assert rows.dtype == np.int64
    assert (rows == stored[picked]).all()
    assert shards.read("train", []).shape == (0, SEQ_LEN + 1)
    with pytest.raises(IndexError, match="of train, which has"):
        shards.read("train", [len(stored)])


def test_the_digest_is_that_of_the_shards(packed):
    digest = hashlib.sha256()
    for split in SPLITS:
        for path in sorted((packed / split).iterdir()):
            digest.update(path.read_bytes())
    assert TokenShards(packed).meta["digest"] == digest.hexdigest()


def test_the_baseline_is_gzip_of_the_validation_text(splits, packed):
    text = "\n\n".join(page["text"] for page in read_documents(splits / "validation")).encode()
    expected = 8 * len(gzip.compress(text, 9)) / len(text)
    report = json.loads((packed / "report.json").read_text())
    assert report["metrics"]["gzip_bits_per_byte"] == pytest.approx(expected)


def test_two_workers_write_the_same_bytes_as_one(splits, trained, packed, tmp_path):
    again = pack(splits, trained[0], tmp_path / "again", workers=2)
    files = [path.relative_to(packed) for path in packed.rglob("*") if path.is_file() and ".done" not in path.parts]
    assert len(files) > 5
    assert all((packed / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_documents_stand_in_a_seeded_order_that_sharding_does_not_change(
    splits, trained, packed, write_documents, tmp_path
):
    one_shard = {split: list(read_documents(splits / split)) for split in SPLITS}
    for split, rows in one_shard.items():
        write_documents(f"reversed/{split}", rows[::-1])
    same = pack(tmp_path / "reversed", trained[0], tmp_path / "same")
    other = pack(splits, trained[0], tmp_path / "other", seed=1)
    assert TokenShards(same).meta == TokenShards(packed).meta
    assert TokenShards(other).meta["digest"] != TokenShards(packed).meta["digest"]


def test_what_a_step_reads_depends_on_the_rows_the_seed_and_the_step_alone(
    splits, trained, packed, write_documents, tmp_path
):
    """Packed again from other shards by two workers into another folder, and asked in another order: the same rows."""
    for split in SPLITS:
        write_documents(f"again/{split}", list(read_documents(splits / split))[::-1], shards=3)
    again = pack(tmp_path / "again", trained[0], tmp_path / "tokens again", workers=2)
    one, other = (BatchLoader(TokenShards(folder), batch_rows=7, seed=5) for folder in (packed, again))
    steps = list(range(120))
    in_order = {step: one.read(step) for step in steps}
    backwards = {step: other.read(step) for step in steps[::-1]}
    assert TokenShards(packed).rows("train") < 7 * len(steps)  # into the second epoch
    assert all((in_order[step] == backwards[step]).all() for step in steps)
    different = BatchLoader(TokenShards(packed), batch_rows=7, seed=6)
    assert sum((different.read(step) == in_order[step]).all() for step in steps) == 0


def test_a_folder_that_holds_no_tokens_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no meta.json in"):
        TokenShards(tmp_path)


def test_an_epochs_order_is_a_permutation_that_depends_on_all_it_is_given():
    first = row_order("d", 0, 0, 1000)
    assert sorted(first.tolist()) == list(range(1000))
    assert (first == row_order("d", 0, 0, 1000)).all()
    for other in (row_order("e", 0, 0, 1000), row_order("d", 1, 0, 1000), row_order("d", 0, 1, 1000)):
        assert (first == other).sum() < 20
    # the stream must never change: a resumed run relies on it
    assert row_order("d", 0, 0, 8).tolist() == [1, 7, 6, 2, 4, 0, 3, 5]
