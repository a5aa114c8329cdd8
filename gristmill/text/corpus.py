"""The documents of several nights as one artifact. Shards are linked, not copied; nothing is decided here."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.report import Report
from gristmill.text.documents import (
    ShardWriter,
    count_documents,
    document_schema,
    kept,
    read_shard,
    shard_paths,
    verdict_schema,
)


def run_corpus(nights: Mapping[str, Path], out: Path) -> Report:
    """Join the nights' shards, in their order. Raises ValueError when their rows have different columns."""
    folders = list(nights.items())
    schema = document_schema(folders[0][1])
    number = 0
    rows: dict[str, int] = {}
    facts = [name for name in schema.names if name != "text"]
    with ShardWriter(out / "verdicts.parquet", verdict_schema(schema)) as verdicts:
        for name, folder in folders:
            _check_columns(name, document_schema(folder).names, folders[0][0], schema.names)
            for path in shard_paths(folder):
                _link(path, out / f"part-{number:05d}.parquet")
                number += 1
                for document in read_shard(path, columns=facts):
                    verdicts.write(kept(document, stage="corpus"))
            rows[name] = count_documents(folder)
    _join_leaks([folder for _, folder in folders], out)
    total = sum(rows.values())
    return Report(rows_in=total, rows_out=total, details={"nights": rows})


def _join_leaks(folders: Sequence[Path], out: Path) -> None:
    """What decontamination found in any night; `evaluate` asks for it."""
    found = [path for folder in folders if (path := folder / "leaks.parquet").is_file()]
    if found:
        pq.write_table(pa.concat_tables([pq.read_table(path) for path in found]), out / "leaks.parquet")


def _check_columns(night: str, columns: list[str], first: str, expected: list[str]) -> None:
    if columns != expected:
        differ = sorted(set(columns) ^ set(expected))
        raise ValueError(
            f"corpus: documents of night {night} have other columns than those of {first} ({', '.join(differ)}); the "
            "signals were changed in between: begin another series (`nights.series`)"
        )


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)  # published files are never written to
    except OSError:
        shutil.copyfile(path, target)
