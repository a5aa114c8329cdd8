"""`manifest.jsonl`: the WARC files of an artifact of ingest, in the order in which later stages read them."""

from collections.abc import Iterable
from pathlib import Path

from gristmill.schema import Schema

MANIFEST = "manifest.jsonl"


class ManifestEntry(Schema):
    """One WARC file; `file` is relative to the artifact."""

    source: str
    file: str
    bytes: int
    sha256: str
    license: str


def write_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> None:
    lines = "".join(entry.model_dump_json() + "\n" for entry in entries)
    (folder / MANIFEST).write_text(lines, encoding="utf-8")


def read_manifest(folder: Path) -> list[ManifestEntry]:
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    return [ManifestEntry.model_validate_json(line) for line in lines]
