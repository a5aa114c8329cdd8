"""The rows of the files that a source names: JSON lines, lists of objects in JSON, Parquet; each with its place."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gristmill.align.rows_config import FileRows, HubRows, located
from gristmill.errors import NotHere, SourceUnavailable
from gristmill.jsonl import read_jsonl

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


def rows_of(source: FileRows | HubRows) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:row, fields), rows counted from 1. Raises ValueError naming both; SourceUnavailable for a missing file."""
    if isinstance(source, HubRows):
        for path in _downloaded(source):
            yield from read_rows(path)
        return
    for location in located(source.paths):
        if "://" not in location:
            yield from read_rows(Path(location))
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield from read_rows(_fetched(location, Path(folder)))


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:row, fields) of one file on this machine."""
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path.name}: expected a file of rows that ends with one of {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
    elif path.name.removesuffix(".gz").endswith(".jsonl"):
        yield from read_jsonl(path)
    else:
        yield from _listed_rows(path)


def license_of(source: FileRows | HubRows) -> str:
    """What is declared, or what the card of a hub's data set states."""
    if not isinstance(source, HubRows) or source.license != "card":
        return source.license
    from gristmill.model.licenses import UNKNOWN, license_of_card

    cards = _snapshot(source, ["README.md"]) / "README.md"
    return license_of_card(cards) if cards.is_file() else UNKNOWN


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", {key: value for key, value in row.items() if value is not None}
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path.name}: damaged Parquet after row {number} ({error}); fetch the file again") from error


def _listed_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        found = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    except (EOFError, gzip.BadGzipFile, ValueError) as error:
        raise ValueError(f"{path.name}: expected a list of JSON objects, found no JSON ({error})") from error
    if not isinstance(found, list):
        raise ValueError(f"{path.name}: expected a list of JSON objects, found one {type(found).__name__}")
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path.name}:{number}: expected a JSON object, found a {type(row).__name__}")
        yield f"{path.name}:{number}", row


def _fetched(location: str, folder: Path) -> Path:
    from gristmill.guarded_http import filesystem_of

    path = folder / PurePosixPath(location).name
    try:
        filesystem, bare = filesystem_of(location)
        filesystem.get_file(bare, str(path))
    except Exception as error:  # each file system has exceptions of its own
        raise SourceUnavailable(f"data.paths: cannot fetch {location} ({type(error).__name__}: {error})") from error
    return path


def _downloaded(source: HubRows) -> list[Path]:
    folder = _snapshot(source, source.files)
    # a cache may hold more of the data set than was asked for
    found = sorted({path for pattern in source.files for path in folder.rglob(pattern) if path.is_file()})
    if not found:
        raise NotHere(
            f"data.hub: {source.hub} at {source.revision[:7]} has none of the files {', '.join(source.files)}; "
            "name those that it has with data.files"
        )
    return found


def _snapshot(source: HubRows, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.hub, repo_type="dataset", revision=source.revision, allow_patterns=files))
    except Exception as error:  # the client has no base class for "no network", "no such data" and "no access"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SourceUnavailable(
            f"data.hub: {source.hub} at {source.revision} is not in the hub's local cache and cannot be downloaded "
            f"({reason}); on a machine with a network: hf download {source.hub} --repo-type dataset --revision "
            f"{source.revision}, then copy its cache here (HF_HOME), or name the files with data.kind: files"
        ) from error
