"""The WARC files a source names: local or remote paths and globs, each file under a name that no machine decides.

A file's name is its path below the deepest folder that holds all files of the source, so that neither the place of
that folder nor the spelling of a glob reaches an artifact or its key.
"""

import glob
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gristmill.fingerprint import file_sha256
from gristmill.schema import SourceUnavailable

T = TypeVar("T")


@dataclass(frozen=True)
class WarcFile:
    """name: relative, with forward slashes. location: absolute path, or URL."""

    name: str
    location: str

    @property
    def is_remote(self) -> bool:
        return "://" in self.location

    def fingerprint(self) -> dict[str, Any]:
        """Name, size and digest of the content: sha256 of a local file, the server's etag of a remote one."""
        return fingerprints([self])[0]


def fingerprints(files: Sequence[WarcFile]) -> list[dict[str, Any]]:
    """Each file's `fingerprint`, with one set of connections. Raises SourceUnavailable, also for a file that a server
    does not have."""
    found: dict[WarcFile, dict[str, Any]] = {}
    for file in files:
        if not file.is_remote:
            path = Path(file.location)
            found[file] = {"file": file.name, "size": path.stat().st_size, "sha256": file_sha256(path)}
    if len(found) < len(files):
        from gristmill.crawl.fetch import Fetcher

        with Fetcher() as fetcher:
            remote = [file for file in files if file.is_remote]
            for file, facts in fetcher.in_order(lambda file: fetcher.facts(file.location), remote):
                digest = (facts.version or file.location).strip('"')
                found[file] = {"file": file.name, "size": facts.size, "etag": digest}
    return [found[file] for file in files]


def write_warcs(paths: Iterable[str], folder: Path, *, source: str) -> Iterator[tuple[Path, str]]:
    """Copy or fetch the files that `paths` of a source name into `folder`; a file that is there already stays.

    Yields each with its origin. Raises as `find_warc_files` does, and SourceUnavailable for a remote file that does
    not arrive whole.
    """
    files = find_warc_files(paths, source=source)
    if not any(file.is_remote for file in files):
        for file in files:
            _copy(Path(file.location), folder / file.name)
            yield folder / file.name, file.location
        return
    from gristmill.crawl.fetch import Fetcher
    from gristmill.progress import progress

    with (
        progress(f"fetch {source}", total=None, unit="MB") as bar,
        Fetcher(arrived=lambda size: bar.advance(size / 1e6)) as fetcher,
    ):

        def bring(file: WarcFile) -> None:
            path = folder / file.name
            if not file.is_remote:
                _copy(Path(file.location), path)
            elif not path.exists():
                fetcher.download(file.location, path)

        for file, _ in fetcher.in_order(bring, files):
            yield folder / file.name, file.location


def _copy(original: Path, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    # copied, not linked: the artifact must stay what its record says when the original is changed
    shutil.copyfile(original, part)
    part.rename(path)


class NoFile(ValueError):
    """Nothing lies at a path of a source."""


def find_warc_files(
    paths: Iterable[str],
    *,
    source: str,
    example: str = "*.warc.gz",
    missing: Callable[[NoFile], None] | None = None,
) -> list[WarcFile]:
    """The files that `paths` of a source name, sorted by name, each once. example: a glob, for a path that is a folder.

    missing: is told of a path with nothing there, which is left out then.
    Raises ValueError for a local path that is not there, a folder, a glob without a match, or two files of one name;
    SourceUnavailable for a remote place that does not answer a glob. Whether a remote file exists, `fingerprints` asks.
    """
    locations: set[str] = set()
    for path in paths:
        try:
            locations.update(_expand(path, source, example))
        except NoFile as error:
            if missing is None:
                raise
            missing(error)
    files: dict[str, WarcFile] = {}
    for is_remote in (False, True):
        group = sorted(location for location in locations if ("://" in location) == is_remote)
        folder = os.path.commonpath([str(PurePosixPath(location).parent) for location in group]) if group else ""
        for location in group:
            name = str(PurePosixPath(location).relative_to(folder))
            if name in files:
                raise ValueError(
                    f"ingest.sources: {files[name].location} and {location} of source {source!r} would both be called "
                    f"{name}; put them into two sources"
                )
            files[name] = WarcFile(name, location)
    return [files[name] for name in sorted(files)]


def _expand(path: str, source: str, example: str) -> list[str]:
    path = path.removeprefix("file://")
    found = _expand_remote(path) if "://" in path else _expand_local(path, source, example)
    if not found:
        what = "matches no file" if glob.has_magic(path) else "does not exist"
        raise NoFile(
            f"ingest.sources: {path} of source {source!r} {what}; correct its `paths`, or bring the file there first"
        )
    return found


def _expand_local(path: str, source: str, example: str) -> list[str]:
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        raise ValueError(
            f"ingest.sources: {path} of source {source!r} is a folder; name its files: {path.rstrip('/')}/{example}"
        )
    if place.exists():
        return [str(place)]
    matches = Path(place.anchor).glob(str(place.relative_to(place.anchor)))
    return [str(match) for match in matches if match.is_file()]


def _expand_remote(path: str) -> list[str]:
    if not glob.has_magic(urlsplit(path).path):
        return [path]
    filesystem, bare = _remote(path)
    return [filesystem.unstrip_protocol(match) for match in _ask(path, lambda: filesystem.glob(bare))]


def _remote(location: str) -> tuple[Any, str]:
    from gristmill.guarded_http import filesystem_of

    try:
        return filesystem_of(location)
    except (ImportError, ValueError) as error:
        raise ValueError(f"ingest.sources: {location} cannot be opened: {error}") from error


def _ask(location: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except Exception as error:  # each file system has exceptions of its own, from aiohttp's to botocore's
        raise SourceUnavailable(
            f"{location} does not answer ({type(error).__name__}: {error}); check the address and the network"
        ) from error
