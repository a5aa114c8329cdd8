"""The source `commoncrawl`: find out which crawl and which of its files or captures are meant, then fetch them.

Layout of the published data (commoncrawl.org/get-started): `crawl-data/<crawl>/warc.paths.gz` lists the files,
`collinfo.json` of the index server the crawls, and `<crawl>-index` is the index of one.
"""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from gristmill.crawl.cdx import Capture, fetch_record, find_captures
from gristmill.crawl.commoncrawl_config import CRAWL_ID, CommonCrawlSource
from gristmill.crawl.fetch import LISTING_BYTES, Fetcher, Politeness
from gristmill.crawl.transfer import Refused, WrongContent
from gristmill.crawl.whole_members import cut_after_last_whole_member
from gristmill.errors import SourceUnavailable
from gristmill.progress import progress

LOST = "record not as indexed"


@dataclass(frozen=True)
class Resolved:
    """One crawl, and either paths of files in it or captures. digest: of the whole list they were taken from."""

    crawl: str
    paths: tuple[str, ...]
    captures: tuple[Capture, ...]
    digest: str

    def identity(self) -> dict[str, Any]:
        if self.captures:
            return {"crawl": self.crawl, "captures": len(self.captures), "captures_digest": self.digest}
        return {"crawl": self.crawl, "paths_digest": self.digest}


def resolve(source: CommonCrawlSource) -> Resolved:
    """Ask which crawl, files or captures the source means now.

    Raises SourceUnavailable when nobody answers, ValueError for a crawl that is not there and a query without answer.
    """
    # the index server wants one request at a time, and not many a second
    with Fetcher(Politeness(connections=1, tries=source.tries, pause_s=1.0)) as fetcher:
        crawl = _latest(fetcher, source) if source.crawl == "latest" else source.crawl
        if source.cdx:
            return _resolve_captures(fetcher, source, crawl)
        return _resolve_paths(fetcher, source, crawl)


def write_warcs(source: CommonCrawlSource, folder: Path, losses: Counter[str]) -> Iterator[tuple[Path, str]]:
    """Fetch what the source means into `folder`; files that are there already are not fetched again.

    Yields each file with its origin. Captures that the server does not have as the index describes them are counted
    in `losses` and listed in `<file>.lost.jsonl`. Raises SourceUnavailable when the server does not go on answering.
    """
    resolved: Resolved = source.resolved()
    with (
        progress(f"fetch {source.name}", total=None, unit="MB") as bar,
        Fetcher(
            Politeness(connections=source.connections, tries=source.tries), arrived=lambda size: bar.advance(size / 1e6)
        ) as fetcher,
    ):
        if source.cdx:
            size, found = source.cdx.pages_per_warc, False
            for number, start in enumerate(range(0, len(resolved.captures), size)):
                path = folder / f"captures-{number:05d}.warc.gz"
                captures = resolved.captures[start : start + size]
                if _write_captures(fetcher, source, captures, path, losses):
                    found = True
                    yield path, f"{path.name} of source {source.name!r}"
            if not found:
                raise SourceUnavailable(
                    f"source {source.name!r}: none of {len(resolved.captures)} captures is in {source.base_url} as the "
                    f"index of {resolved.crawl} says; {folder.name}/*.lost.jsonl in the draft has the reasons"
                )
        else:
            download = partial(_download, fetcher, source)
            files = [(path, folder / name) for path, name in _names(resolved.paths).items()]
            for (path, file), _ in fetcher.in_order(download, files):
                yield file, _address(source, path)


def _latest(fetcher: Fetcher, source: CommonCrawlSource) -> str:
    url = f"{source.index_url.rstrip('/')}/collinfo.json"
    crawls = [crawl for crawl in fetcher.get(url, _parse_crawls) if CRAWL_ID.fullmatch(crawl)]
    if not crawls:
        raise SourceUnavailable(f"{url} lists no crawl whose id begins with CC-MAIN-; name the crawl in the source")
    return max(crawls)  # CC-MAIN-<year>-<week>


def _parse_crawls(content: bytes) -> list[str]:
    try:
        return [str(crawl["id"]) for crawl in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"no list of crawls, but begins with {content[:80]!r}") from error


def _resolve_paths(fetcher: Fetcher, source: CommonCrawlSource, crawl: str) -> Resolved:
    url = _address(source, f"crawl-data/{crawl}/{source.files}.paths.gz")
    try:
        paths = fetcher.get(url, _parse_paths)
    except Refused as error:
        if error.status != 404:
            raise
        raise ValueError(
            f"source {source.name!r}: there is no {url}; index.commoncrawl.org lists the crawls, and not every old "
            f"one has {source.files} files"
        ) from error
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    return Resolved(crawl, tuple(_sample(paths, source.sample_files, source.seed)), (), digest)


def _parse_paths(content: bytes) -> list[str]:
    decoder = zlib.decompressobj(wbits=31)
    try:
        paths = decoder.decompress(content, LISTING_BYTES).decode("ascii").split()
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"no list of paths, but begins with {content[:40]!r}") from error
    if not decoder.eof:
        raise ValueError("the list of paths breaks off, or is larger than any")
    if not paths:
        raise ValueError("the list of paths is empty")
    return paths


def _sample(paths: Sequence[str], size: int | None, seed: int) -> list[str]:
    """`size` of the paths, in their order; which ones depends on the seed and each path alone, so samples nest."""
    if size is None:
        return list(paths)
    lot = {path: hashlib.sha256(f"{seed} {path}".encode()).digest() for path in paths}
    chosen = set(sorted(lot, key=lot.__getitem__)[:size])
    return [path for path in paths if path in chosen]


def _resolve_captures(fetcher: Fetcher, source: CommonCrawlSource, crawl: str) -> Resolved:
    assert source.cdx
    captures = find_captures(fetcher, f"{source.index_url.rstrip('/')}/{crawl}-index", source.cdx)
    if not captures:
        raise ValueError(
            f"source {source.name!r}: the index of {crawl} has no capture for {source.cdx.model_dump_json()}; ask for "
            "another url or match, fewer conditions, or another crawl"
        )
    lines = "\n".join(capture.model_dump_json() for capture in captures)
    return Resolved(crawl, (), tuple(captures), hashlib.sha256(lines.encode()).hexdigest())


def _address(source: CommonCrawlSource, path: str) -> str:
    return f"{source.base_url.rstrip('/')}/{path}"


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Path → name of the file here: the last part where that tells them apart, else all of it, without folders."""
    names = {path: PurePosixPath(path).name for path in paths}
    if len(set(names.values())) < len(names):
        return {path: path.strip("/").replace("/", "_") for path in paths}
    return names


def _download(fetcher: Fetcher, source: CommonCrawlSource, file: tuple[str, Path]) -> None:
    path, target = file
    if target.exists():
        return
    first_bytes = round(source.first_mb * 1e6) if source.first_mb else None
    url = _address(source, path)

    def cut(part: Path) -> None:
        if first_bytes and cut_after_last_whole_member(part) == 0:
            raise ValueError(
                f"source {source.name!r}: the first record of {url} is longer than first_mb={source.first_mb}; raise it"
            )

    fetcher.download(url, target, first_bytes=first_bytes, finish=cut)


def _write_captures(
    fetcher: Fetcher, source: CommonCrawlSource, captures: Sequence[Capture], path: Path, losses: Counter[str]
) -> bool:
    """Put the records of the captures into one file, in their order. Returns whether there is one."""
    lost = path.with_name(path.name + ".lost.jsonl")
    if not path.exists():
        faults: list[str] = []
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            for capture, record in fetcher.in_order(partial(_record, fetcher, source), captures):
                if isinstance(record, bytes):
                    file.write(record)
                else:
                    faults.append(json.dumps({**capture.model_dump(), "fault": str(record)}))
        lost.write_text("".join(line + "\n" for line in faults))
        part.rename(path)
    count = len(lost.read_text().splitlines()) if lost.exists() else 0
    if count:
        losses[LOST] += count
    else:
        lost.unlink(missing_ok=True)
    if path.stat().st_size == 0:
        path.unlink()
        return False
    return True


def _record(fetcher: Fetcher, source: CommonCrawlSource, capture: Capture) -> bytes | SourceUnavailable:
    try:
        return fetch_record(fetcher, source.base_url.rstrip("/"), capture)
    except WrongContent as fault:
        return fault
    except Refused as fault:
        if fault.status not in (404, 410, 416):
            raise  # such as credentials that are missing: it will be so for all
        return fault
