"""Ingest: every source becomes WARC files in one folder, listed in `manifest.jsonl`.

    out/manifest.jsonl            one line a file: source, file, bytes, sha256, license
    out/<source name>/<file>      `file` of the manifest is this path, relative to `out`

All later stages read WARC files from there, whatever kind of source they came from.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from gristmill.crawl.config import IngestConfig, Source, WarcSource
from gristmill.crawl.manifest import ManifestEntry, write_manifest
from gristmill.crawl.members import holds_warc, opening_bytes
from gristmill.crawl.warc_files import WarcFile, find_warc_files
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import SourceUnavailable


def run_ingest(out: Path, config: IngestConfig) -> Report:
    """Bring the files of all sources into `out`.

    Raises ValueError for a path without a file, an empty file, and one that holds no WARC record; SourceUnavailable
    for a remote file that cannot be fetched.
    """
    entries: list[ManifestEntry] = []
    with progress("ingest", total=None, unit="files") as bar:
        for source in config.sources:
            for path, origin in _fill(out / source.name, source):
                entries.append(_entry(path, origin, out, source))
                bar.advance(note=path.name)
    write_manifest(out, entries)
    sizes = {
        source.name: [entry.bytes for entry in entries if entry.source == source.name] for source in config.sources
    }
    return Report(
        rows_in=len(entries),
        rows_out=len(entries),
        unit="files",
        metrics={"bytes": float(sum(entry.bytes for entry in entries))},
        details={"sources": {name: {"files": len(each), "bytes": sum(each)} for name, each in sizes.items()}},
    )


def _fill(folder: Path, source: Source) -> Iterator[tuple[Path, str]]:
    """Write the source's WARC files below its folder. Yields each with the place to name in an error."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, WarcSource):
        for file in find_warc_files(source.paths, source=source.name):
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.is_remote:
                _download(file, path)
            else:
                # copied, not linked: the artifact must stay what its record says when the original is changed
                shutil.copyfile(file.location, path)
            yield path, file.location
        return
    from gristmill.crawl.python_docs import write_warcs

    write_warcs(source, folder)
    for path in sorted(folder.rglob("*.warc*")):
        yield path, source.name


def _download(file: WarcFile, path: Path) -> None:
    import fsspec

    expected = file.fingerprint()["size"]
    temporary = path.with_name(path.name + ".tmp")
    try:
        with fsspec.open(file.location, "rb") as remote, temporary.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # each file system has its own exceptions
        raise SourceUnavailable(f"{file.location} broke off ({type(error).__name__}: {error}); run again") from error
    received = temporary.stat().st_size
    if expected is not None and received != expected:
        raise SourceUnavailable(f"{file.location} has {expected} bytes, {received} arrived; run again")
    temporary.rename(path)


def _entry(path: Path, origin: str, out: Path, source: Source) -> ManifestEntry:
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            raise ValueError(f"{origin} is empty; expected a WARC file (`.warc` or `.warc.gz`): fetch it again")
        if not holds_warc(file):
            raise ValueError(
                f"{origin} is no WARC file: neither it nor a gzip member in it begins with `WARC/`, but with "
                f"{opening_bytes(file)!r}; remove it from the paths of source {source.name!r}, or convert it"
            )
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestEntry(
        source=source.name,
        file=path.relative_to(out).as_posix(),
        bytes=size,
        sha256=digest,
        license=source.license,
    )
