"""Ingest: every source becomes WARC files in one folder, listed in `manifest.jsonl`.

    out/manifest.jsonl            one line a file: source, file, bytes, sha256, license
    out/<source name>/<file>      `file` of the manifest is this path, relative to `out`

All later stages read WARC files from there, whatever kind of source they came from. A file has its final name when it
is whole, so an ingest that was killed goes on with the files that were missing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gristmill.crawl.config import (
    CodeSource,
    CommonCrawlSource,
    IngestConfig,
    JsonlSource,
    ParquetSource,
    PythonDocsSource,
    Source,
    TextSource,
    WarcSource,
    WikipediaSource,
)
from gristmill.crawl.manifest import ManifestEntry, write_manifest
from gristmill.crawl.members import holds_warc, opening_bytes
from gristmill.progress import progress
from gristmill.report import Report


@dataclass
class _Facts:
    """What is said of one source beside its files. losses: what it has and could not be brought, by reason."""

    losses: Counter[str] = field(default_factory=Counter)
    details: dict[str, Any] = field(default_factory=dict)


def run_ingest(out: Path, config: IngestConfig) -> Report:
    """Bring the files of all sources into `out`, which is empty, or was left by a killed ingest of the same sources.

    rows_in and rows_out count files, `dropped` what is missing in them: captures, rows, texts. Raises ValueError for a
    path without a file, an empty file, and one that holds no WARC record; SourceUnavailable for a remote file that
    cannot be fetched.
    """
    entries: list[ManifestEntry] = []
    facts = {source.name: _Facts() for source in config.sources}
    with progress("ingest", total=None, unit="files") as bar:
        for source in config.sources:
            for path, origin in _fill(out / source.name, source, facts[source.name]):
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
        dropped=dict(sorted(sum((each.losses for each in facts.values()), Counter()).items())),
        metrics={"bytes": float(sum(entry.bytes for entry in entries))},
        details={
            "sources": {
                name: {
                    "files": len(each),
                    "bytes": sum(each),
                    "dropped": dict(sorted(facts[name].losses.items())),
                    **facts[name].details,
                }
                for name, each in sizes.items()
            }
        },
    )


def _fill(folder: Path, source: Source, facts: _Facts) -> Iterator[tuple[Path, str]]:
    """Bring or write the source's WARC files below its folder. Yields each with the place to name in an error."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, WarcSource):
        from gristmill.crawl.warc_files import write_warcs

        yield from write_warcs(source.paths, folder, source=source.name)
    elif isinstance(source, CommonCrawlSource):
        from gristmill.crawl.commoncrawl import write_warcs

        yield from write_warcs(source, folder, facts.losses)
    else:
        _write(folder, source, facts)
        for path in sorted(folder.rglob("*.warc*")):
            yield path, source.name


def _write(folder: Path, source: Source, facts: _Facts) -> None:
    """Make WARC files of a source that has none."""
    if isinstance(source, PythonDocsSource):
        from gristmill.crawl.python_docs import write_warcs

        # the modules it leaves out are too short, or a limit's matter; nothing is lost
        facts.details["documents"] = write_warcs(source, folder).rows_out
        return
    if isinstance(source, JsonlSource | ParquetSource):
        from gristmill.crawl.rows_source import write_warcs

        report = write_warcs(source, folder)
    elif isinstance(source, TextSource):
        from gristmill.crawl.text_source import write_warcs

        report = write_warcs(source, folder)
    elif isinstance(source, CodeSource):
        from gristmill.crawl.code_source import write_warcs

        report = write_warcs(source, folder)
    else:
        assert isinstance(source, WikipediaSource)
        from gristmill.crawl.wikipedia_source import write_warcs

        report = write_warcs(source, folder)
    facts.losses.update(report.dropped)
    facts.details |= {"documents": report.rows_out, **report.details}


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
