"""The sources `jsonl` and `parquet`: rows become texts; a row that has none is counted by reason, and is not fatal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.crawl.compressed import BrokenFile, lines
from gristmill.crawl.conversions import (
    Losses,
    SourceText,
    local_url,
    usable_date,
    usable_license,
    usable_url,
    write_conversions,
)
from gristmill.crawl.fetched import fetched_files
from gristmill.crawl.text_sources_config import JsonlSource, ParquetSource, RowsSource
from gristmill.report import Report


def write_warcs(source: JsonlSource | ParquetSource, folder: Path) -> Report:
    """Write the rows of all files as WARC files. Raises ValueError for a file without a usable row."""
    losses = Losses()
    return write_conversions(_texts(source, folder, losses), folder, losses, shard_bytes=source.shard_bytes)


def _texts(source: JsonlSource | ParquetSource, folder: Path, losses: Losses) -> Iterator[SourceText]:
    for name, path in fetched_files(source, folder):
        before, found, fields = losses.dropped.copy(), False, None
        rows = (
            _json_rows(source, path, losses) if isinstance(source, JsonlSource) else _parquet_rows(source, path, losses)
        )
        for number, row in rows:
            fields = fields or sorted(row)
            text = _text(source, row, name, number, losses)
            if text:
                found = True
                yield text
        if not found:
            raise ValueError(_nothing_usable(source, name, losses.dropped - before, fields))


def _json_rows(source: JsonlSource, path: Path, losses: Losses) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's object with the line's number, from 1."""
    number = 0
    try:
        for number, line in enumerate(lines(path, max_bytes=int(source.max_line_mb * 1_000_000)), start=1):
            where = f"{path.name}:{number}"
            if line is None:
                losses.drop("line_too_long", where)
            elif line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    losses.drop("no_json", where)
                    continue
                if isinstance(row, dict):
                    yield number, row
                else:
                    losses.drop("no_object", where)
    except BrokenFile as broken:
        losses.drop("broken_file", f"{broken} (after line {number})")


def _parquet_rows(source: ParquetSource, path: Path, losses: Losses) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = _columns(source, file.schema_arrow.names, path)
            for batch in file.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowInvalid as error:
        losses.drop("broken_file", f"{path.name}: {error} (after row {number})")
    except OSError as error:
        if error.errno is not None:  # the disk failed, not the content
            raise
        losses.drop("broken_file", f"{path.name}: {error} (after row {number})")


def _columns(source: ParquetSource, there: list[str], path: Path) -> list[str]:
    """The columns that hold the source's fields. Raises ValueError for one that the file does not have."""
    wanted = (source.text_field, source.url_field, source.date_field, source.license_field, source.id_field)
    columns = {field if field in there else field.partition(".")[0] for field in wanted if field}
    for column in sorted(columns - set(there)):
        raise ValueError(
            f"{path.name} of source {source.name!r} has no column {column!r}, but {', '.join(there)}; "
            "correct the source's `…_field` settings"
        )
    return sorted(columns)


def _text(source: RowsSource, row: dict[str, Any], name: str, number: int, losses: Losses) -> SourceText | None:
    where = f"{name}:{number}"
    text = _field(row, source.text_field)
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            losses.drop("text_is_no_utf8", where)
            return None
    if not isinstance(text, str):
        losses.drop("no_text" if text is None else f"text_is_{type(text).__name__}", where)
        return None
    if not text.strip():
        losses.drop("empty", where)
        return None
    given = _field(row, source.id_field) if source.id_field else None
    is_id = isinstance(given, int | str) and 0 < len(str(given)) <= 200
    url = usable_url(_field(row, source.url_field)) if source.url_field else None
    date = usable_date(_field(row, source.date_field)) if source.date_field else None
    license = usable_license(_field(row, source.license_field)) if source.license_field else None
    facts = [("id", source.id_field, is_id), ("url", source.url_field, url), ("date", source.date_field, date)]
    facts.append(("license", source.license_field, license))
    losses.made_up.update(fact for fact, field, value in facts if field and not value)
    return SourceText(url or local_url(source.name, name, str(given) if is_id else number), text, date, license)


def _field(row: Any, field: str) -> Any:
    """The value of a field, or of one inside it; None when it is not there."""
    if isinstance(row, dict) and field in row:
        return row[field]
    first, dot, rest = field.partition(".")
    return _field(row.get(first), rest) if dot and isinstance(row, dict) else None


def _nothing_usable(source: RowsSource, name: str, dropped: Any, fields: list[str] | None) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "no rows"
    seen = f"; its first row has {', '.join(fields[:20])}" if fields else ""
    return (
        f"{name} of source {source.name!r} has no row with a text in {source.text_field!r} ({reasons}){seen}; "
        "set text_field, or remove the file from the source's paths"
    )
