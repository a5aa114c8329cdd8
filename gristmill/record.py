"""`record.json`: what an artifact is, what it was made from, and whether the files that lie there are as it says."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, ValidationError, field_validator

from gristmill.fingerprint import read_sha256
from gristmill.ledger.costs import Costs
from gristmill.schema import Schema

FORMAT = 1


class FileEntry(Schema):
    """One file of an artifact; `path` is relative to the artifact."""

    path: str
    size: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} leads out of its artifact")
        return path


class Recipe(Schema):
    """What decides an artifact's bytes. Its digest is the artifact's identity."""

    kind: str
    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str | None]
    """Name of the input → address of the artifact, or a plain value such as the champion's address."""

    @property
    def address(self) -> str:
        decisive = self.model_dump(mode="json", exclude={"kind"})
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"{self.kind}/{self.stage}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


class Record(Schema):
    """`record.json`: what an artifact is, what it was made from, by which run and code, and its files."""

    format: int = FORMAT
    address: str
    label: str
    """The stage as tables show it: `dedup`, `evaluate[sft]`."""
    recipe: Recipe
    run: str
    created: datetime
    seconds: float
    resources: dict[str, Any] = {}
    code: dict[str, str] = {}
    """Domain module → digest of its source when this was built."""
    git_commit: str | None = None
    costs: Costs | None = None
    """What building it used; null in records older than the ledger."""
    files: list[FileEntry]


class BrokenArtifact(RuntimeError):
    """An artifact's files are not what its record says."""


def parse_record(address: str, content: bytes) -> Record:
    """A record from its JSON. Raises BrokenArtifact."""
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise BrokenArtifact(
            f"{address}/record.json is no record of format {FORMAT}: {error.error_count()} faults"
        ) from error
    if record.format != FORMAT:
        raise BrokenArtifact(f"{address} has record format {record.format}, this gristmill reads {FORMAT}")
    return record


def check_folder(folder: Path) -> None:
    """Raise BrokenArtifact where an artifact that lies here, or a copy of one, is not what its record says.

    A folder without a record is not looked at.
    """
    try:
        content = (folder / "record.json").read_bytes()
    except FileNotFoundError:
        return
    record = parse_record(str(folder), content)
    check_sizes(record, sizes_in(folder, record))
    if changed := changed_file(folder, record):
        raise BrokenArtifact(f"{folder}: {changed} was changed after it was published")


def check_sizes(record: Record, sizes: Iterable[int | None]) -> None:
    """sizes: of each file that a record lists, None for one that is not there. Raises BrokenArtifact."""
    for entry, size in zip(record.files, sizes, strict=True):
        if size is None:
            raise BrokenArtifact(f"{record.address} lacks its file {entry.path}; it will be rebuilt")
        if size != entry.size:
            raise BrokenArtifact(
                f"{record.address}: {entry.path} has {size} bytes, its record says {entry.size}; it will be rebuilt"
            )


def sizes_in(folder: Path, record: Record) -> Iterator[int | None]:
    """Of each file that a record lists, as it lies in a folder; None for one that does not."""
    for entry in record.files:
        try:
            yield (folder / entry.path).stat().st_size
        except FileNotFoundError:
            yield None


def changed_file(folder: Path, record: Record) -> str | None:
    """The first of its files that no longer holds what the record says. See `is_changed`."""
    return next((entry.path for entry in record.files if is_changed(folder, entry, record.created)), None)


def is_changed(folder: Path, entry: FileEntry, created: datetime) -> bool:
    """Whether a file no longer has its content. It is read where its date is later than its record's; one that holds,
    such as a copy's, gets the record's date, so that it is read once.

    Bytes that changed without a write, on a failing disk, are found by `verify` alone.
    """
    path = folder / entry.path
    if path.stat().st_mtime_ns <= _nanoseconds(created):
        return False
    if read_sha256(path) != entry.sha256:
        return True
    with suppress(OSError):  # a store that may only be read
        was_read(path, created)
    return False


def was_read(path: Path, created: datetime) -> None:
    """Give a file that holds what its record says the record's date."""
    os.utime(path, ns=(_nanoseconds(created), _nanoseconds(created)))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
