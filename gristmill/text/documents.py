"""The document format shared by all data stages: Parquet shards, and a verdict for every page that was dropped.

An artifact of documents is a folder of `part-00000.parquet`, `part-00001.parquet`, … (zstd) beside one
`verdicts.parquet`. A row is one page; columns a stage adds (signals, cluster sizes) travel on with the rest.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
    ]
)

VERDICT_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("stage", pa.string()),
        ("decision", pa.string()),  # "dropped" or "trimmed"
        ("rule", pa.string()),
        ("value", pa.string()),  # measured; text, since rules measure numbers, languages and identifiers
        ("threshold", pa.string()),
    ]
)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    written, batch = 0, []
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            batch.append(row)
            if len(batch) == 512:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                written, batch = written + len(batch), []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
    temporary.rename(path)
    return written + len(batch)


def write_verdicts(folder: Path, verdicts: Iterable[dict[str, Any]]) -> int:
    """Write `verdicts.parquet`, also when no page was dropped: an absent file would be a missing answer."""
    return write_shard(folder / "verdicts.parquet", verdicts, schema=VERDICT_SCHEMA)


def verdict(
    document: dict[str, Any], *, stage: str, rule: str, value: Any, threshold: Any, decision: str = "dropped"
) -> dict[str, Any]:
    """One row of `verdicts.parquet`: why this page, or a part of it, did not go on."""
    return {
        **{name: document.get(name) for name in ("doc_id", "url", "source", "warc_file", "warc_offset")},
        "stage": stage,
        "decision": decision,
        "rule": rule,
        "value": str(value),
        "threshold": str(threshold),
    }
