"""Pages that are seen several times, from `mix` through `split` to rows of tokens and to their traces."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from gristmill.text.config import SplitConfig
from gristmill.text.documents import read_documents, read_shard
from gristmill.text.split import run_split
from gristmill.tokens.config import TokenizeConfig, TrainedTokenizer
from gristmill.tokens.mix import run_mix
from gristmill.tokens.mix_config import MixConfig
from gristmill.tokens.pack import run_tokenize
from gristmill.tokens.reader import TokenShards
from gristmill.tokens.tokenizer import Vocabulary, run_train_tokenizer

SEQ_LEN = 32


@pytest.fixture
def made(write_documents, tmp_path):
    """200 pages, every fourth one with a cluster of 3, mixed, split and packed: the folders by stage."""
    pages = [
        {
            "url": f"https://example.org/{n}",
            "text": f"page number {n}: " + " ".join(f"word{n * k % 97}" for k in range(5 + n % 40)),
            "source": "web" if n % 2 else "docs",
            "language": "en",
            "quality": n / 200,
            "cluster_size": 3 if n % 4 == 0 else 1,
        }
        for n in range(200)
    ]
    folders = {name: tmp_path / name for name in ("mix", "split", "tokenizer", "tokens")}
    for folder in folders.values():
        folder.mkdir()
    documents = write_documents("documents", pages, shards=3, more={"cluster_size": pa.int32()})
    buckets = {"signal": "quality", "edges": [0.5], "rates": [1, 1]}
    mixing = MixConfig.model_validate({"rehydrate": "fineweb2", "max_epochs": 8, "buckets": buckets})
    run_mix(documents, folders["mix"], mixing)
    run_split(folders["mix"], folders["split"], SplitConfig(validation=0.2, held_out=0.1))
    run_train_tokenizer(folders["split"], folders["tokenizer"], TrainedTokenizer(vocab_size=270))
    config = TokenizeConfig(seq_len=SEQ_LEN, rows_per_shard=50)
    report = run_tokenize(folders["split"], folders["tokenizer"], folders["tokens"], config)
    return folders | {"report": report}


def copies_of(made, split):
    """Document → the token ids of each of its copies, read from the rows by the index."""
    shards = TokenShards(made["tokens"])
    rows = shards.read(split, range(shards.rows(split)))
    copies: dict[str, list[list[int]]] = {}
    for piece in read_shard(made["tokens"] / "index.parquet"):
        if piece["split"] == split:
            ids = rows[piece["row"]][piece["start"] + 1 : piece["start"] + piece["length"]].tolist()
            if piece["continuation"]:
                copies[piece["doc_id"]][-1] += ids
            else:
                copies.setdefault(piece["doc_id"], []).append(ids)
    return copies


@pytest.mark.parametrize(("split", "times"), [("train", 3), ("validation", 1)])
def test_a_page_of_three_epochs_stands_three_times_in_training_rows_and_once_in_validation(made, split, times):
    vocabulary, copies = Vocabulary.load(made["tokenizer"]), copies_of(made, split)
    documents = {page["doc_id"]: page for page in read_documents(made["split"] / split)}
    assert set(copies) == set(documents)
    assert Counter(page["epochs"] for page in documents.values()).keys() == {1, 3}
    for doc_id, page in documents.items():
        expected = times if page["epochs"] == 3 else 1
        assert [vocabulary.tokenizer.decode(ids) for ids in copies[doc_id]] == [page["text"]] * expected


def test_copies_are_far_apart(made):
    starts: dict[str, list[int]] = {}
    for piece in read_shard(made["tokens"] / "index.parquet"):
        if piece["split"] == "train" and not piece["continuation"]:
            starts.setdefault(piece["doc_id"], []).append(piece["row"])
    rows = TokenShards(made["tokens"]).rows("train")
    # a third of the documents stands between two copies, and documents differ in length by chance
    gaps = [np.diff(sorted(found)).min() for found in starts.values() if len(found) == 3]
    assert len(gaps) > 20
    assert min(gaps) > rows / 6


def test_the_report_has_the_exact_tokens_of_each_source_and_bucket_once_and_repeated(made):
    report, shards = made["report"], TokenShards(made["tokens"])
    assert "mixture" not in json.loads((made["tokens"] / "meta.json").read_text())
    for split in ("train", "validation"):
        copies = copies_of(made, split)
        pages = {page["doc_id"]: page for page in read_documents(made["split"] / split)}
        expected: dict[tuple[str, int], Counter] = {}
        for doc_id, page in pages.items():
            found = expected.setdefault((page["source"], page["bucket"]), Counter())
            found.update(documents=1, documents_seen=len(copies[doc_id]))
            found.update(tokens=len(copies[doc_id][0]), tokens_seen=sum(map(len, copies[doc_id])))
        rows = report.details["mixture"][split]
        assert len(rows) == 4
        for row in rows:
            names = ("documents", "documents_seen", "tokens", "tokens_seen")
            assert {name: row[name] for name in names} == expected[row["source"], row["bucket"]]
        assert sum(row["tokens_seen"] for row in rows) == shards.meta["splits"][split]["text_tokens"]
        assert sum(row["text_bytes_seen"] for row in rows) == shards.meta["splits"][split]["bytes"]


def test_every_token_of_every_copy_is_a_target_and_only_the_last_row_has_padding(made):
    shards = TokenShards(made["tokens"])
    rows, meta = shards.read("train", range(shards.rows("train"))), shards.meta["splits"]["train"]
    texts = sum(page["epochs"] * len(page["text"].encode()) for page in read_documents(made["split"] / "train"))
    assert shards.token_bytes[rows[:, 1:]].sum() == texts == meta["bytes"]
    assert not (rows[:-1] == shards.meta["pad_id"]).any()
