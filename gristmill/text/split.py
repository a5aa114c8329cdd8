"""Train, validation, held-out: a pure function of the page's canonical URL, so a page never moves between splits."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from gristmill.crawl.urls import canonical_url
from gristmill.report import Report
from gristmill.text.config import HELD_OUT_INDEX, SplitConfig
from gristmill.text.documents import (
    ShardWriter,
    document_schema,
    read_shard,
    shard_paths,
    verdict,
    verdict_schema,
    write_shard,
)
from gristmill.text.words import text_hash

Split = Literal["train", "validation", "held_out"]

INDEX_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("canonical_url", pa.string()),
        ("split", pa.string()),
        ("text_hash", pa.string()),  # of the words, see gristmill.text.words
    ]
)


def run_split(documents: Path, out: Path, config: SplitConfig) -> Report:
    """Write `train/`, `validation/` and `held_out/`, each a folder of document shards.

    `held_out_index.parquet` lists the pages that do not train, so that later crawls can be kept off them (see
    `decontaminate.against`). Raises ValueError when no page trains, or none validates.
    """
    schema = document_schema(documents)
    documents_in, chars = Counter(), Counter()
    index: list[dict[str, Any]] = []
    with ShardWriter(out / "verdicts.parquet", verdict_schema(schema)) as verdicts:
        for path in shard_paths(documents):
            rows: dict[str, list[dict[str, Any]]] = {}
            for document in read_shard(path):
                split = split_of(document["url"], config)
                rows.setdefault(split, []).append(document)
                verdicts.write(
                    verdict(document, stage="split", rule="split", value=split, threshold=None, decision="kept")
                )
                documents_in[split] += 1
                chars[split] += len(document["text"])
                if split != "train":
                    index.append(_index_row(document, split))
            for split, part in rows.items():
                write_shard(out / split / path.name, part, schema=schema)
    total = documents_in.total()
    for split in ("train", "validation"):
        if not documents_in[split]:
            shares = f"split.validation={config.validation} and split.held_out={config.held_out}"
            raise ValueError(
                f"split: none of {total} pages fell to {split} with {shares}; bring more pages or change the shares"
            )
    (out / "held_out").mkdir(exist_ok=True)
    write_shard(out / HELD_OUT_INDEX, index, schema=INDEX_SCHEMA)
    return Report(
        rows_in=total,
        rows_out=total,
        metrics={f"{split}_documents": documents_in[split] for split in get_args(Split)},
        details={"chars": {split: chars[split] for split in get_args(Split)}},
    )


def split_of(url: str, config: SplitConfig) -> Split:
    """The split of one page. The shares hold in expectation, over pages."""
    digest = hashlib.sha256(f"{config.seed}:{canonical_url(url)}".encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64
    if position < config.held_out:
        return "held_out"
    if position < config.held_out + config.validation:
        return "validation"
    return "train"


def _index_row(document: dict[str, Any], split: Split) -> dict[str, Any]:
    return {
        "doc_id": document["doc_id"],
        "canonical_url": canonical_url(document["url"]),
        "split": split,
        "text_hash": text_hash(document["text"]),
    }
