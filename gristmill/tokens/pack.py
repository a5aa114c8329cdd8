"""The `tokenize` stage: documents become full rows of token ids, nothing lost, nothing twice.

The documents of a split stand in a seeded order. A training document of several `epochs` (gristmill.tokens.mix) stands
there as often, its copies spread evenly over the split; one that validates stands once. Each begins with the document
start (BOS); one that does not fit continues in the next row, after another BOS. As a row's first token is never
predicted and always is BOS, every token of every copy is a target exactly once, and at most one row length - 1 of
padding ends a split.
Token ids are spilled to `.work/` in the output folder while the stage runs, and rows are written as they fill: what
stays in memory is some 100 bytes a copy, for their order. Left out: the held-out split.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import read_documents, shard_paths, write_shard
from gristmill.text.order import place
from gristmill.tokens.config import TokenizeConfig
from gristmill.tokens.contributions import contributions
from gristmill.tokens.tokenizer import Vocabulary, token_bytes

SPLITS = ("train", "validation")
PIECES_PER_BATCH = 16_384

INDEX_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("row", pa.int64()),
        ("start", pa.int32()),  # of the piece in its row; a BOS stands there
        ("length", pa.int32()),  # tokens of the piece, its BOS included
        ("doc_id", pa.string()),
        ("continuation", pa.bool_()),  # the document began in an earlier row
        ("source", pa.string()),
        ("language", pa.string()),
    ]
)

_ENCODED_SCHEMA = pa.schema(
    [
        *(("doc_id", pa.string()), ("tokens", pa.int64()), ("text_bytes", pa.int64())),
        # what `contributions` counts by; without `mix` a document is seen once and lies in no bucket
        *(("source", pa.string()), ("language", pa.string()), ("bucket", pa.int32()), ("epochs", pa.int32())),
    ]
)


def run_tokenize(splits: Path, tokenizer: Path, out: Path, config: TokenizeConfig, *, workers: Workers = 1) -> Report:
    """Write packed rows of the training and validation splits.

    `train/` and `validation/`: tokens-00000.npy, …, each [rows, seq_len + 1], uint16 or, above 65,535 tokens, uint32.
    `index.parquet`: which document stands where. `token_bytes.npy`: int32 [vocab_size], bytes of text of each token.
    `meta.json`: sizes, special ids and the digest of the rows. Of a split it counts rows, documents, tokens (padding
    left out), text_tokens (BOS left out too), continuations (rows that go on with a document, so BOS are as many as
    these and the documents together), bytes of text, and padding, which ends its last row; copies are counted.
    The report's `mixture` has by split what each source, language and bucket contributes, once and with copies.
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
    mixture = {split: _mixture(work / split) for split in SPLITS}
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
    padding = sum(split["padding"] for split in counts.values())
    continuations = sum(split["continuations"] for split in counts.values())
    return Report(
        rows_in=text_tokens,
        rows_out=text_tokens,
        unit="tokens",
        metrics={
            "gzip_bits_per_byte": _gzip_bits_per_byte(splits / "validation"),
            "row_fill": filled / (filled + padding),
            "added_tokens": filled - text_tokens,
            "continuations": continuations,
        },
        details=meta | {"mixture": mixture},
    )


def _encode_shard(shard: tuple[str, Path], *, tokenizer: Path, work: Path, dtype: str) -> dict[str, Any]:
    """Write the token ids of one shard's documents, one after the other, and their lengths."""
    split, path = shard
    vocabulary = Vocabulary.load(tokenizer)
    ids, lengths = [np.zeros(0, dtype)], []
    with pq.ParquetFile(path) as file:
        facts = [name for name in file.schema_arrow.names if name in _ENCODED_SCHEMA.names]
        for batch in file.iter_batches(batch_size=256, columns=["text", *facts]):
            documents = batch.to_pylist()
            texts = [document.pop("text") for document in documents]
            encodings = vocabulary.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for document, text, encoding in zip(documents, texts, encodings, strict=True):
                ids.append(np.array(encoding.ids, dtype))
                counts = {"tokens": len(encoding), "text_bytes": len(text.encode())}
                epochs = document.get("epochs", 1) if split == "train" else 1
                lengths.append(document | counts | {"epochs": epochs})
    np.save(work / split / f"{path.stem}.npy", np.concatenate(ids))
    write_shard(work / split / path.name, lengths, schema=_ENCODED_SCHEMA)
    return {"rows_in": len(lengths)}


class _Packer:
    """Fills the rows of one split and writes them with their index."""

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
        self.digest = digest
        self.index = index
        self.filling = np.zeros(config.seq_len + 1, dtype)
        self.used = 0  # tokens of the row that is being filled
        self.rows = 0  # that are full
        self.file: _RowFile | None = None
        self.shards = 0
        self.pieces: list[dict[str, Any]] = []

    def pack(self, encoded: Path) -> dict[str, int]:
        """Pack all documents below `encoded`. Returns what `meta.json` says of the split."""
        documents = text_tokens = text_bytes = added = 0  # of copies each counts
        for document, ids, size in _in_order(encoded, self.config.seed):
            added += self._add(document, ids)
            documents, text_tokens, text_bytes = documents + 1, text_tokens + len(ids), text_bytes + size
        padding = len(self.filling) - self.used if self.used else 0
        if padding:
            self.filling[self.used :] = self.vocabulary.pad_id
            self._end_row()
        self._end_shard()
        self._write_pieces()
        tokens = self.rows * len(self.filling) - padding
        assert tokens == text_tokens + added, (self.split, tokens, text_tokens, added)
        return {
            "rows": self.rows,
            "documents": documents,
            "tokens": tokens,
            "text_tokens": text_tokens,
            "continuations": added - documents,
            "bytes": text_bytes,
            "padding": padding,
        }

    def _add(self, document: dict[str, str | None], ids: NDArray) -> int:
        """Write a document piece by piece. Returns the number of pieces: of the BOS that were added."""
        done = pieces = 0
        while not pieces or done < len(ids):
            start = self.used
            piece = ids[done : done + len(self.filling) - start - 1]
            end = start + 1 + len(piece)
            self.filling[start] = self.vocabulary.bos_id
            self.filling[start + 1 : end] = piece
            self.pieces.append(
                {
                    "split": self.split,
                    "row": self.rows,
                    "start": start,
                    "length": end - start,
                    "continuation": pieces > 0,
                    **document,
                }
            )
            done, pieces, self.used = done + len(piece), pieces + 1, end
            if end == len(self.filling):
                self._end_row()
        return pieces

    def _end_row(self) -> None:
        if self.file is None:
            path = self.folder / f"tokens-{self.shards:05d}.npy"
            self.file = _RowFile(path, len(self.filling), self.filling.dtype)
        self.file.write(self.filling)
        self.rows, self.used = self.rows + 1, 0
        if self.file.rows == self.config.rows_per_shard:
            self._end_shard()
        if len(self.pieces) >= PIECES_PER_BATCH:
            self._write_pieces()

    def _end_shard(self) -> None:
        if self.file is not None:
            self.file.close(self.digest)
            self.file, self.shards = None, self.shards + 1

    def _write_pieces(self) -> None:
        if self.pieces:
            self.index.write_batch(pa.RecordBatch.from_pylist(self.pieces, schema=INDEX_SCHEMA))
            self.pieces = []


class _RowFile:
    """A `.npy` file that grows by a row at a time: numpy leaves room in the header for the number of rows."""

    def __init__(self, path: Path, length: int, dtype: np.dtype) -> None:
        self.length, self.dtype, self.rows = length, dtype, 0
        self._file = path.open("w+b")
        self._write_header()

    def write(self, row: NDArray) -> None:
        self._file.write(row.tobytes())
        self.rows += 1

    def close(self, digest: "hashlib._Hash") -> None:
        """Finish the file and feed its bytes to the digest."""
        self._file.seek(0)
        self._write_header()
        self._file.seek(0)
        while block := self._file.read(1 << 20):
            digest.update(block)
        self._file.close()

    def _write_header(self) -> None:
        described = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, self.length),
        }
        np.lib.format.write_array_header_1_0(self._file, described)


def _in_order(encoded: Path, seed: int) -> Iterator[tuple[dict[str, str | None], NDArray, int]]:
    """(id, source and language; token ids; bytes of text) of all documents, one of several epochs as often, in the
    seeded order; ids are read when they are needed."""
    paths = shard_paths(encoded)
    columns = ["doc_id", "source", "language", "tokens", "text_bytes", "epochs"]
    documents = [pq.read_table(path, columns=columns) for path in paths]
    if not documents:
        return
    ids = [np.load(path.with_suffix(".npy"), mmap_mode="r") for path in paths]
    ends = [np.cumsum(table["tokens"].to_numpy()) for table in documents]
    shard_of = np.repeat(np.arange(len(paths), dtype=np.int32), [len(table) for table in documents])
    ends_in_shard, joined = np.concatenate(ends), pa.concat_tables(documents)
    doc_ids, tokens, sizes = joined["doc_id"], joined["tokens"].to_numpy(), joined["text_bytes"].to_numpy()
    for number in _seeded_order(doc_ids, joined["epochs"].to_numpy(), seed):
        end = ends_in_shard[number]
        document = {name: joined[name][number].as_py() for name in ("doc_id", "source", "language")}
        yield document, ids[shard_of[number]][end - tokens[number] : end], int(sizes[number])


def _seeded_order(doc_ids: pa.ChunkedArray, epochs: NDArray[np.int32], seed: int) -> NDArray[np.int64]:
    """Numbers of the documents, each as often as it has epochs, by their places in the seeded order.

    Copy k of E stands k/E of the split behind the first one, and from its end on at its beginning.
    """
    names = (name for chunk in doc_ids.chunks for name in chunk.to_pylist())
    places = np.fromiter((place(name, seed=seed, purpose="tokenize") for name in names), np.float64, len(doc_ids))
    numbers = np.repeat(np.arange(len(places)), epochs)
    copies = np.arange(len(numbers)) - np.repeat(np.cumsum(epochs) - epochs, epochs)
    table = pa.table({"place": (places[numbers] + copies / epochs[numbers]) % 1, "doc_id": doc_ids.take(numbers)})
    keys = [("place", "ascending"), ("doc_id", "ascending")]
    order = pc.sort_indices(table, sort_keys=keys).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    return numbers[order]


def _mixture(encoded: Path) -> list[dict[str, Any]]:
    """Exact tokens by source, language and bucket, once and as often as they stand in the rows."""
    columns = ["source", "language", "bucket", "epochs", "text_bytes", "tokens"]
    tables = [pq.read_table(path, columns=columns) for path in shard_paths(encoded)]
    table = pa.concat_tables([_ENCODED_SCHEMA.empty_table().select(columns), *tables])
    return contributions(table, by=("source", "language", "bucket"), sizes=("text_bytes", "tokens"))


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
