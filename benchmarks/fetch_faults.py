"""What arrives from a server that misbehaves: for each fault, records lost and doubled, beside a plain download.

A local server (tests/unit/faulty_server.py) publishes three WARC files as Common Crawl would. Every listing and
file meets the fault `--times` times, then an honest answer. Three ways of the source `commoncrawl`: whole files,
the first megabyte of each, and single captures by the index. `plain` is one urllib request a file, without a second
try, to show what each fault does. Waits are counted, not waited.

    python benchmarks/fetch_faults.py [--data ../shared/data] [--json] [--times 2]
"""

import argparse
import gzip
import io
import json
import os
import sys
import tempfile
import urllib.request
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit"))

from faulty_server import FAULTS, FaultyServer  # pyright: ignore[reportMissingImports]

from gristmill.crawl.config import CommonCrawlSource, IngestConfig
from gristmill.crawl.fetch import Fetcher
from gristmill.crawl.framing import Record, read_records
from gristmill.crawl.heads import Head
from gristmill.crawl.ingest import run_ingest
from gristmill.crawl.manifest import read_manifest
from gristmill.crawl.members import Member, members

CRAWL = "CC-MAIN-2024-22"
WARCS = ("docs-ukrainian-00000", "docs-multilingual-00000", "web-english-00000")
CAPTURES = 60
MODES: dict[str, dict[str, Any]] = {
    "files": {"sample_files": None},
    "first_mb": {"sample_files": None, "first_mb": 1},
    "captures": {"cdx": {"url": "all", "status": None, "mimes": None, "pages_per_warc": 25}, "connections": 1},
}


def main() -> None:
    os.environ.setdefault("GRISTMILL_PRIVATE_NETWORKS", "127.0.0.1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--times", type=int, default=2, help="how often each request meets the fault")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.stderr = Path("/dev/null").open("w")  # noqa: SIM115  progress of a hundred ingests
    waited: list[float] = []
    Fetcher._sleep = lambda _self, seconds: waited.append(seconds)  # type: ignore[method-assign]
    files = {f"crawl/{name}.warc.gz": (options.data / f"web/packed/{name}.warc.gz").read_bytes() for name in WARCS}
    rows = []
    for fault in ("none", *(fault for fault in FAULTS if fault != "slow")):
        for mode in MODES:
            rows.append(_row(files, fault, mode, options.times, waited))
        rows.append(_plain(files, fault))
    if options.json:
        print(json.dumps({"rows": rows, "lost": _sum(rows, "lost"), "doubled": _sum(rows, "doubled")}))
        return
    print(f"{'fault':16}{'mode':10}{'records':>8}{'lost':>6}{'doubled':>8}{'requests':>9}{'received':>9}{'waits s':>8}")
    for row in rows:
        print(
            f"{row['fault']:16}{row['mode']:10}{row['records']:8}{row['lost']:6}{row['doubled']:8}{row['requests']:9}"
            f"{row['received']:8.2f}×{row['waits_s']:8.0f}"
        )
    print(f"lost {_sum(rows, 'lost')}, doubled {_sum(rows, 'doubled')} by gristmill in all")


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows if row["mode"] != "plain")


def _row(files: dict[str, bytes], fault: str, mode: str, times: int, waited: list[float]) -> dict[str, Any]:
    """One ingest. received: bytes that the server sent, as a multiple of what an honest one would have."""
    with FaultyServer(dict(files)) as server, tempfile.TemporaryDirectory() as folder:
        _publish(server)
        fields = {"crawl": CRAWL, "base_url": server.url, "index_url": server.url, "tries": 30, **MODES[mode]}
        run_ingest(Path(folder) / "honest", IngestConfig(sources=[CommonCrawlSource(**fields)]))
        honest_bytes = server.sent
        server.sent = 0
        server.requests.clear()
        waited.clear()
        if fault != "none":
            # no check sum guards a line of the index against a changed byte where there is no TLS
            for path in (*server.files, *(server.answers if fault != "corrupted" else ())):
                # of the captures, which all come from one file, each meets it in turn with an honest answer
                server.faults[path] = [fault, ""] * CAPTURES if mode == "captures" else [fault] * times
        run_ingest(Path(folder) / "faulty", IngestConfig(sources=[CommonCrawlSource(**fields)]))
        expected, found = _records(Path(folder) / "honest"), _records(Path(folder) / "faulty")
        return {
            "fault": fault,
            "mode": mode,
            "records": found.total(),
            "lost": (expected - found).total(),
            "doubled": (found - expected).total(),
            "requests": len(server.requests),
            "received": server.sent / honest_bytes,
            "waits_s": sum(waited),
        }


def _plain(files: dict[str, bytes], fault: str) -> dict[str, Any]:
    """What one request a file brings."""
    with FaultyServer(dict(files)) as server, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for path, content in files.items():
            (place / "honest").mkdir(exist_ok=True)
            (place / "honest" / Path(path).name).write_bytes(content)
            server.faults[path] = [fault] if fault != "none" else []
            (place / "faulty").mkdir(exist_ok=True)
            try:
                with urllib.request.urlopen(f"{server.url}/{path}", timeout=5) as answer:
                    got = answer.read()
            except (OSError, HTTPException) as error:
                got = getattr(error, "partial", b"")
            (place / "faulty" / Path(path).name).write_bytes(got)
        expected, found = (_records_of(sorted((place / name).iterdir())) for name in ("honest", "faulty"))
        return {
            "fault": fault,
            "mode": "plain",
            "records": found.total(),
            "lost": (expected - found).total(),
            "doubled": (found - expected).total(),
            "requests": len(server.requests),
            "received": server.sent / sum(map(len, files.values())),
            "waits_s": 0.0,
        }


def _publish(server: FaultyServer) -> None:
    """The listings and the index of a crawl with the server's files."""
    paths = list(server.files)
    lines = [line for path in paths for line in _index(path, server.files[path])][:CAPTURES]
    server.files[f"crawl-data/{CRAWL}/warc.paths.gz"] = gzip.compress("\n".join(paths).encode(), mtime=0)

    def answer(query: dict[str, list[str]]) -> tuple[int, bytes]:
        if "showNumPages" in query:
            return 200, b'{"pages": 4, "pageSize": 5, "blocks": 16}\n'
        page, size = int(query["page"][0]), len(lines) // 4
        return 200, "".join(json.dumps(line) + "\n" for line in lines[page * size : (page + 1) * size]).encode()

    server.answers[f"{CRAWL}-index"] = answer


def _index(path: str, content: bytes) -> list[dict[str, str]]:
    """Index lines of the responses in a file, as Common Crawl's index has them."""
    lines = []
    for member in members(io.BytesIO(content)):
        assert isinstance(member, Member)
        opening = member.read()
        while member.read():
            pass
        head = Head.parse(opening)
        if head.get("warc-type") == "response":
            digest = (head.get("warc-payload-digest") or "").removeprefix("sha1:")
            lines.append(
                {
                    "url": (head.get("warc-target-uri") or "").strip("<>"),
                    "timestamp": "20240518015810",
                    "filename": path,
                    "offset": str(member.offset),
                    "length": str(member.end - member.offset),
                    "digest": digest,
                    "status": "200",
                }
            )
    return lines


def _records(out: Path) -> Counter[tuple[str | None, int]]:
    return _records_of([out / entry.file for entry in read_manifest(out)])


def _records_of(files: list[Path]) -> Counter[tuple[str | None, int]]:
    """Whole records by URL and content."""
    found: Counter[tuple[str | None, int]] = Counter()
    for path in files:
        with path.open("rb") as file:
            for record in read_records(file, max_content_bytes=1 << 24):
                if isinstance(record, Record) and not record.repaired:
                    found[record.head.url, hash(record.content)] += 1
    return found


if __name__ == "__main__":
    main()
