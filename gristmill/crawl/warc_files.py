"""The WARC files a source names: local or remote paths and globs, each file under a name that no machine decides.

A file's name is its path below the deepest folder that holds all files of the source, so that neither the place of
that folder nor the spelling of a glob reaches an artifact or its key.
"""

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

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
        if not self.is_remote:
            path = Path(self.location)
            return {"file": self.name, "size": path.stat().st_size, "sha256": file_sha256(path)}
        filesystem, path = _remote(self.location)
        facts = _ask(self.location, lambda: filesystem.info(path))
        etag = next((facts[key] for key in ("ETag", "etag", "md5Hash", "content_md5") if facts.get(key)), None)
        # without an etag: fsspec's digest of all that the server says of the file, such as its time of change
        digest = str(etag).strip('"') if etag else _ask(self.location, lambda: filesystem.ukey(path))
        return {"file": self.name, "size": facts.get("size"), "etag": digest}


def find_warc_files(paths: Iterable[str], *, source: str) -> list[WarcFile]:
    """The files that `paths` of a source name, sorted by name, each once.

    Raises ValueError for a path that is not there, a folder, a glob without a match, or two files of one name;
    SourceUnavailable for a remote place that does not answer.
    """
    locations = {location for path in paths for location in _expand(path, source)}
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


def _expand(path: str, source: str) -> list[str]:
    path = path.removeprefix("file://")
    found = _expand_remote(path) if "://" in path else _expand_local(path, source)
    if not found:
        what = "matches no file" if glob.has_magic(path) else "does not exist"
        raise ValueError(
            f"ingest.sources: {path} of source {source!r} {what}; correct its `paths`, or bring the file there first"
        )
    return found


def _expand_local(path: str, source: str) -> list[str]:
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        raise ValueError(
            f"ingest.sources: {path} of source {source!r} is a folder; name its files: {path.rstrip('/')}/*.warc.gz"
        )
    if place.exists():
        return [str(place)]
    matches = Path(place.anchor).glob(str(place.relative_to(place.anchor)))
    return [str(match) for match in matches if match.is_file()]


def _expand_remote(path: str) -> list[str]:
    filesystem, bare = _remote(path)
    if glob.has_magic(bare):
        return [filesystem.unstrip_protocol(match) for match in _ask(path, lambda: filesystem.glob(bare))]
    return [path] if _ask(path, lambda: filesystem.exists(bare)) else []


def _remote(location: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ValueError(f"ingest.sources: {location} cannot be opened: {error}") from error


def _ask(location: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except Exception as error:  # each file system has exceptions of its own, from aiohttp's to botocore's
        raise SourceUnavailable(
            f"{location} does not answer ({type(error).__name__}: {error}); check the address and the network"
        ) from error
