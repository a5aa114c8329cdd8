"""The document format shared by all data stages: Parquet shards, and a verdict for every page that came in.

An artifact of documents is a folder of `part-00000.parquet`, `part-00001.parquet`, … (zstd) beside one
`verdicts.parquet`. A row is one page; columns a stage adds (signals, cluster sizes) travel on with the rest. A row of
the verdicts is a document without its text, and what the stage decided about it: kept, or by which rule not.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENT_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),  # sha256 of "warc_file:offset:url", 16 hex digits
        ("url", pa.string()),
        ("text", pa.string()),
        ("date", pa.string()),  # WARC-Date, ISO 8601
        ("source", pa.string()),  # name of the entry in ingest.sources
        ("license", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("language_status", pa.string()),  # "certain", "uncertain" or "mixed"
        ("paragraph_languages", pa.list_(pa.string())),
        ("text_hash", pa.string()),  # of the words as extracted, see gristmill.text.words; masking does not change it
    ]
)

_DECISION_FIELDS = [
    ("chars", pa.int64()),  # of the text that came in; null where no text was read
    ("stage", pa.string()),
    ("decision", pa.string()),  # "kept", "dropped", "trimmed" or "redacted"; the first and the last two go on
    ("rule", pa.string()),
    ("value", pa.string()),  # measured; text, since rules measure numbers, languages and identifiers
    ("threshold", pa.string()),
]

_JOINED_ROWS = 65_536


def shard_paths(folder: Path) -> list[Path]:
    """The document shards of an artifact, in their order."""
    return sorted(folder.glob("part-*.parquet"))


def read_documents(folder: Path, *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """All rows of an artifact of documents, one dict each, in shard order."""
    for path in shard_paths(folder):
        yield from read_shard(path, columns=columns)


def read_shard(path: Path, *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of one Parquet file, holding one row group's batch in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=512, columns=columns):
            yield from batch.to_pylist()


def document_schema(folder: Path) -> pa.Schema:
    """The columns of an artifact's rows, those that stages added included. Raises ValueError when it has no shard."""
    paths = shard_paths(folder)
    if not paths:
        raise ValueError(f"no part-*.parquet in {folder}; expected an artifact of documents: build it again")
    return pq.read_schema(paths[0])


def count_documents(folder: Path) -> int:
    """Rows in all shards, from the Parquet footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in shard_paths(folder))


def write_shard(path: Path, rows: Iterable[dict[str, Any]], *, schema: pa.Schema = DOCUMENT_SCHEMA) -> int:
    """Write rows to one Parquet file under a temporary name, then rename it. Returns the number of rows."""
    with ShardWriter(path, schema) as writer:
        for row in rows:
            writer.write(row)
    return writer.rows


def write_judged(
    path: Path,
    judged: Iterable[tuple[dict[str, Any], dict[str, Any] | None]],
    *,
    schema: pa.Schema = DOCUMENT_SCHEMA,
) -> dict[str, Any]:
    """Write one shard from (verdict, the document where it goes on) for each page that came in.

    The verdicts lie beside the shards' commits until `join_verdicts`. Returns a summary for `map_shards`: rows_in,
    rows_out, and `dropped`, rows by rule.
    """
    dropped: Counter[str] = Counter()
    with ExitStack() as stack:
        documents = stack.enter_context(ShardWriter(path, schema))
        verdicts = stack.enter_context(ShardWriter(_verdicts_of(path), verdict_schema(schema)))
        for row, document in judged:
            verdicts.write(row)
            if document is None:
                dropped[row["rule"]] += 1
            else:
                documents.write(document)
    return {"rows_in": verdicts.rows, "rows_out": documents.rows, "dropped": dropped}


def judged_files(path: Path) -> list[Path]:
    """The files that `write_judged` writes for a shard."""
    return [path, _verdicts_of(path)]


def join_verdicts(shards: Sequence[Path], out: Path, *, schema: pa.Schema = DOCUMENT_SCHEMA) -> None:
    """Write `verdicts.parquet` from what `write_judged` left for each of the shards, in their order."""
    table, temporary = out / "verdicts.parquet", out / "verdicts.parquet.tmp"
    with pq.ParquetWriter(temporary, verdict_schema(schema), compression="zstd") as joined:
        for path in shards:
            with pq.ParquetFile(_verdicts_of(path)) as part:
                # large row groups: a reader holds what the footer says of each of them
                for batch in part.iter_batches(batch_size=_JOINED_ROWS):
                    joined.write_batch(batch)
    temporary.rename(table)


def verdict_schema(documents: pa.Schema = DOCUMENT_SCHEMA) -> pa.Schema:
    """The columns of `verdicts.parquet` beside documents of this schema."""
    facts = [field for field in documents if field.name != "text"]
    return pa.schema([*facts, *(pa.field(name, kind) for name, kind in _DECISION_FIELDS)])


def verdict(
    document: dict[str, Any], *, stage: str, rule: str, value: Any, threshold: Any, decision: str = "dropped"
) -> dict[str, Any]:
    """One row of `verdicts.parquet`: what a rule decided about this page, and on which measured value."""
    found = {"rule": rule, "value": str(value), "threshold": None if threshold is None else str(threshold)}
    return _facts(document) | {"stage": stage, "decision": decision, **found}


def kept(document: dict[str, Any], *, stage: str) -> dict[str, Any]:
    """The row of a page that goes on as it is."""
    return _facts(document) | {"stage": stage, "decision": "kept"}


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in document.items() if name != "text"}
    return facts | {"chars": len(document["text"]) if "text" in document else None}


def _verdicts_of(shard: Path) -> Path:
    # beside the shards' commits, which the store drops: all verdicts are in one file at the end
    return shard.parent / ".done" / f"verdicts-{shard.stem}.parquet"


class ShardWriter:
    """Rows to one Parquet file, in batches; it has its name only once it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._temporary, self._schema = path, path.with_name(path.name + ".tmp"), schema
        self._file = pq.ParquetWriter(self._temporary, schema, compression="zstd")
        self._batch: list[dict[str, Any]] = []
        self._written = 0

    @property
    def rows(self) -> int:
        return self._written + len(self._batch)

    def write(self, row: dict[str, Any]) -> None:
        self._batch.append(row)
        if len(self._batch) == 512:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None and self._batch:
            self._flush()
        self._file.close()
        if kind is None:
            with self._temporary.open("rb") as written:
                os.fsync(written.fileno())  # a node that loses power after this has done its shard
            self._temporary.rename(self._path)

    def _flush(self) -> None:
        self._file.write_batch(pa.RecordBatch.from_pylist(self._batch, schema=self._schema))
        self._written, self._batch = self.rows, []
