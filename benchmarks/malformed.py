"""What comes out of archive files that are damaged, odd or huge: records, faults by kind, and what others read of them.

    python benchmarks/malformed.py [--data ../shared/data] [--json] [--big 1.0]

Every file of `web/malformed` and `web/genuine` is read by gristmill, fastwarc and warcio. gristmill's columns: pages
(responses, and texts or pages stored without HTTP), other records that hold content but no page, and damage by kind.
`repaired` pages had a wrong length and proved to be whole. The others' column: records of the same types that they
return and whose content can be read, `!` when they stopped with an exception.

--big GB: writes a WARC.gz of that size to a temporary folder, with pages of English words in random order and a record
whose body is 1 GB of zeros, and reads it in a process of its own, whose peak memory is reported. --extract lets the
whole stage read it (precise mode, one worker), in place of the reader alone. Times are CPU time.
"""

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from gristmill.crawl.members import Damage
from gristmill.crawl.records import Page, read_responses

MAX_BODY_BYTES = 8_000_000
WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "it",
    "is",
    "that",
    "for",
    "with",
    "on",
    "this",
    "people",
    "time",
    "work",
    "water",
)
CONTENT_TYPES = ("response", "conversion", "resource", "revisit", "continuation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--big", type=float, metavar="GB", help="also read a file of so many GB, compressed")
    parser.add_argument("--extract", action="store_true", help="with --big: through the whole stage")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--read-big", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read_big:
        print(json.dumps(_read_big(options.read_big, through_extract=options.extract)))
        return
    paths = sorted((options.data / "web/malformed").iterdir()) + sorted((options.data / "web/genuine").iterdir())
    facts: dict[str, Any] = {"files": {path.name: _compared(path) for path in paths}}
    if options.big:
        facts["big"] = _big(options.big, through_extract=options.extract)
    if options.json:
        print(json.dumps(facts))
        return
    print(_table(facts["files"]))
    if options.big:
        print("\n" + ", ".join(f"{name} {value}" for name, value in facts["big"].items()))


def _compared(path: Path) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    damage: Counter[str] = Counter()
    for event in read_responses(path, max_body_bytes=MAX_BODY_BYTES):
        if isinstance(event, Damage):
            damage[event.kind] += 1
        else:
            counts["pages" if isinstance(event, Page) else "other"] += 1
            counts["repaired"] += isinstance(event, Page) and event.repaired is not None
    ours = {name: counts[name] for name in ("pages", "other", "repaired")}
    return {**ours, "damage": dict(sorted(damage.items())), "fastwarc": _fastwarc(path), "warcio": _warcio(path)}


def _fastwarc(path: Path) -> str:
    from fastwarc import warc

    types = [getattr(warc, name) for name in CONTENT_TYPES]
    count = 0
    try:
        with path.open("rb") as file:
            for record in warc.ArchiveIterator(file):
                count += record.record_type in types and record.reader.read() is not None
    except BaseException as error:  # a panic in Rust arrives as a BaseException
        return f"{count}! {type(error).__name__}"
    return str(count)


def _warcio(path: Path) -> str:
    from warcio.archiveiterator import ArchiveIterator

    count = 0
    try:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                count += record.rec_type in CONTENT_TYPES and record.content_stream().read() is not None
    except Exception as error:
        return f"{count}! {type(error).__name__}"
    return str(count)


def _table(files: dict[str, dict[str, Any]]) -> str:
    columns = ("pages", "other", "repaired", "damage", "fastwarc", "warcio")
    rows: list[tuple[str, ...]] = [("file", *columns)]
    for name, facts in files.items():
        damage = ", ".join(f"{kind} {count}" for kind, count in facts["damage"].items())
        rows.append((name, *(damage if column == "damage" else str(facts[column]) for column in columns)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _big(gigabytes: float, *, through_extract: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.warc.gz"
        pages = _write_big(path, gigabytes)
        command = [sys.executable, __file__, "--read-big", str(path), *(["--extract"] if through_extract else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return {"gz_bytes": path.stat().st_size, "pages_written": pages, **json.loads(done.stdout)}


def _write_big(path: Path, gigabytes: float) -> int:
    """Returns the number of pages, the one of zeros included."""
    rng = random.Random(0)
    words = [f"{word}{end}" for word in WORDS for end in ("", "s", "ed", "ing")]
    members = []
    for number in range(100):  # made once, written in turn: a gigabyte of words would take minutes to make
        text = "".join(f"<p>{' '.join(rng.choices(words, k=80))}.</p>" for _ in range(120))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><title>{number}</title><body>".encode()
        members.append(gzip.compress(_record(number, head + text.encode()), compresslevel=1))
    pages = 1
    with path.open("wb") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as bomb:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
            bomb.write(_record(-1, head, size=len(head) + (1 << 30)))
            for _ in range(1 << 10):
                bomb.write(bytes(1 << 20))
            bomb.write(b"\r\n\r\n")
        while file.tell() < gigabytes * 1e9:
            for member in members:
                file.write(member)
            pages += len(members)
    return pages


def _record(number: int, content: bytes, *, size: int | None = None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a{number}.org/\r\nWARC-Date: 2024-05-01T00:00:00Z"
    )
    end = b"" if size else b"\r\n\r\n"
    return f"{head}\r\nContent-Length: {size or len(content)}\r\n\r\n".encode() + content + end


def _read_big(path: Path, *, through_extract: bool) -> dict[str, Any]:
    start, before = time.process_time(), _peak_mb()
    if through_extract:
        pages = _extracted(path)
    else:
        pages = sum(isinstance(event, Page) for event in read_responses(path, max_body_bytes=MAX_BODY_BYTES))
    seconds = time.process_time() - start
    peak = _peak_mb()
    return {"pages_read": pages, "cpu_s": round(seconds, 1), "peak_mb": peak, "peak_mb_before": before}


def _extracted(path: Path) -> int:
    """Pages that got a verdict from the whole stage."""
    from gristmill.crawl.manifest import ManifestEntry, write_manifest
    from gristmill.text.config import ExtractConfig
    from gristmill.text.extract import run_extract

    entry = ManifestEntry(source="big", file=path.name, bytes=path.stat().st_size, sha256="", license="none")
    write_manifest(path.parent, [entry])
    report = run_extract(path.parent, path.parent / "out", ExtractConfig(), workers=1)
    assert report.rows_out > report.rows_in / 2, f"the pages are to go through both extractors: {report.dropped}"
    return report.rows_in


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
