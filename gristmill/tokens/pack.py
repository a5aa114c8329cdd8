"""The `tokenize` stage: documents become full rows of token ids, nothing lost, nothing twice.

The documents of a split stand in a seeded order. Each begins with the document start (BOS); one that does not fit
continues in the next row, after another BOS. As a row's first token is never predicted and always is BOS, every token
of every document is a target exactly once, and at most one row length - 1 of padding ends a split.
Token ids are spilled to `.work/` in the output folder while the stage runs. Left out: the held-out split.
"""

import hashlib
import io
import json
import shutil
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import read_documents, read_shard, shard_paths, write_shard
from gristmill.text.order import place
from gristmill.tokens.config import TokenizeConfig
from gristmill.tokens.tokenizer import Vocabulary, token_bytes

SPLITS = ("train", "validation")

INDEX_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("row", pa.int64()),
        ("start", pa.int32()),  # of the piece in its row; a BOS stands there
        ("length", pa.int32()),  # tokens of the piece, its BOS included
        ("doc_id", pa.string()),
        ("continuation", pa.bool_()),  # the document began in an earlier row
    ]
)

_ENCODED_SCHEMA = pa.schema([("doc_id", pa.string()), ("tokens", pa.int64()), ("text_bytes", pa.int64())])


def run_tokenize(splits: Path, tokenizer: Path, out: Path, config: TokenizeConfig, *, workers: Workers = 1) -> Report:
    """Write packed rows of the training and validation splits.

    `train/` and `validation/`: tokens-00000.npy, …, each [rows, seq_len + 1], uint16 or, above 65,535 tokens, uint32.
    `index.parquet`: which document stands where. `token_bytes.npy`: int32 [vocab_size], bytes of text of each token.
    `meta.json`: sizes, special ids and the digest of the rows. Of a split it counts rows, documents, tokens (padding
    left out), text_tokens (BOS left out too), bytes of text, and padding, which ends its last row.
    """
    vocabulary = Vocabulary.load(tokenizer)
    dtype = "uint32" if vocabulary.size > 65_535 else "uint16"
    work = out / ".work"
    shards = [(split, path) for split in SPLITS for path in shard_paths(splits / split)]
    for split in SPLITS:
        (work / split).mkdir(parents=True, exist_ok=True)
    encode = partial(_encode_shard, tokenizer=tokenizer, work=work, dtype=dtype)
    named = [(f"{split}-{path.stem}", (split, path)) for split, path in shards]
    map_shards(encode, named, out, workers=workers, label="tokenize")

    digest = hashlib.sha256()
    with pq.ParquetWriter(out / "index.parquet", INDEX_SCHEMA, compression="zstd") as index:
        counts = {
            split: _Packer(out, split, vocabulary, config, dtype, digest, index).pack(work / split) for split in SPLITS
        }
    shutil.rmtree(work)
    np.save(out / "token_bytes.npy", np.array(token_bytes(vocabulary.tokenizer, vocabulary.size), np.int32))
    meta = {
        "vocab_size": vocabulary.size,
        "seq_len": config.seq_len,
        "bos_id": vocabulary.bos_id,
        "pad_id": vocabulary.pad_id,
        "eos_id": vocabulary.eos_id,
        "dtype": dtype,
        "splits": counts,
        "digest": digest.hexdigest(),
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    text_tokens = sum(split["text_tokens"] for split in counts.values())
    filled = sum(split["tokens"] for split in counts.values())
    return Report(
        rows_in=text_tokens,
        rows_out=text_tokens,
        unit="tokens",
        metrics={
            "gzip_bits_per_byte": _gzip_bits_per_byte(splits / "validation"),
            "row_fill": filled / (filled + sum(split["padding"] for split in counts.values())),
        },
        details=meta,
    )


def _encode_shard(shard: tuple[str, Path], *, tokenizer: Path, work: Path, dtype: str) -> dict[str, Any]:
    """Write the token ids of one shard's documents, one after the other, and their lengths."""
    split, path = shard
    vocabulary = Vocabulary.load(tokenizer)
    ids, lengths = [np.zeros(0, dtype)], []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=["doc_id", "text"]):
            texts = batch.column("text").to_pylist()
            encodings = vocabulary.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for doc_id, text, encoding in zip(batch.column("doc_id").to_pylist(), texts, encodings, strict=True):
                ids.append(np.array(encoding.ids, dtype))
                lengths.append({"doc_id": doc_id, "tokens": len(encoding), "text_bytes": len(text.encode())})
    np.save(work / split / f"{path.stem}.npy", np.concatenate(ids))
    write_shard(work / split / path.name, lengths, schema=_ENCODED_SCHEMA)
    return {"rows_in": len(lengths)}


class _Packer:
    """Fills the rows of one split and writes them, shard by shard, with their index."""

    def __init__(
        self,
        out: Path,
        split: str,
        vocabulary: Vocabulary,
        config: TokenizeConfig,
        dtype: str,
        digest: "hashlib._Hash",
        index: pq.ParquetWriter,
    ) -> None:
        self.folder = out / split
        self.folder.mkdir(exist_ok=True)
        self.split = split
        self.vocabulary = vocabulary
        self.config = config
        self.dtype = dtype
        self.digest = digest
        self.index = index
        self.rows: list[NDArray] = []
        self.pieces: list[dict[str, Any]] = []
        self.shards = 0
        self.row = -1
        self.used = config.seq_len + 1

    def pack(self, encoded: Path) -> dict[str, int]:
        """Pack all documents below `encoded`. Returns what `meta.json` says of the split."""
        documents = text_tokens = text_bytes = 0
        for doc_id, ids, size in _in_order(encoded, self.config.seed):
            self._add(doc_id, ids)
            documents, text_tokens, text_bytes = documents + 1, text_tokens + len(ids), text_bytes + size
        padding = self.config.seq_len + 1 - self.used
        self._write()
        rows = self.row + 1
        return {
            "rows": rows,
            "documents": documents,
            "tokens": rows * (self.config.seq_len + 1) - padding,
            "text_tokens": text_tokens,
            "bytes": text_bytes,
            "padding": padding,
        }

    def _add(self, doc_id: str, ids: NDArray) -> None:
        done, continuation = 0, False
        while not continuation or done < len(ids):
            if self.used == self.config.seq_len + 1:
                self._begin_row()
            start, room = self.used, self.config.seq_len - self.used
            piece = ids[done : done + room]
            self.rows[-1][start] = self.vocabulary.bos_id
            self.rows[-1][start + 1 : start + 1 + len(piece)] = piece
            self.used += 1 + len(piece)
            self.pieces.append(
                {
                    "split": self.split,
                    "row": self.row,
                    "start": start,
                    "length": 1 + len(piece),
                    "doc_id": doc_id,
                    "continuation": continuation,
                }
            )
            done, continuation = done + len(piece), True

    def _begin_row(self) -> None:
        if len(self.rows) == self.config.rows_per_shard:
            self._write()
        self.rows.append(np.full(self.config.seq_len + 1, self.vocabulary.pad_id, self.dtype))
        self.row, self.used = self.row + 1, 0

    def _write(self) -> None:
        if not self.rows:
            return
        content = io.BytesIO()
        np.save(content, np.stack(self.rows))
        self.digest.update(content.getbuffer())
        (self.folder / f"tokens-{self.shards:05d}.npy").write_bytes(content.getbuffer())
        self.index.write_batch(pa.RecordBatch.from_pylist(self.pieces, schema=INDEX_SCHEMA))
        self.shards += 1
        self.rows, self.pieces = [], []


def _in_order(encoded: Path, seed: int) -> Iterator[tuple[str, NDArray, int]]:
    """(doc_id, token ids, bytes of text) of all documents, in the seeded order; ids are read when they are needed."""
    places = []
    shards = []
    for number, path in enumerate(shard_paths(encoded)):
        shards.append(np.load(path.with_suffix(".npy"), mmap_mode="r"))
        start = 0
        for row in read_shard(path):
            position = place(row["doc_id"], seed=seed, purpose="tokenize")
            places.append((position, row["doc_id"], number, start, row["tokens"], row["text_bytes"]))
            start += row["tokens"]
    for _, doc_id, number, start, tokens, size in sorted(places):
        yield doc_id, shards[number][start : start + tokens], size


def _gzip_bits_per_byte(documents: Path) -> float:
    """What `gzip -9` makes of all texts joined by an empty line: the score a language model has to beat."""
    compressor = zlib.compressobj(9, wbits=31)  # 31: with gzip's header and trailer
    size = compressed = 0
    for number, page in enumerate(read_documents(documents, columns=["text"])):
        content = (("\n\n" if number else "") + page["text"]).encode()
        size += len(content)
        compressed += len(compressor.compress(content))
    compressed += len(compressor.flush())
    return 8 * compressed / max(size, 1)
