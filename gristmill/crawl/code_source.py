"""The source `code`: folders of repositories become one text a file, with the licence that holds for it.

Every file that is not taken is counted by the first rule that left it out, in the order of `_reason` below.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gristmill.crawl.code_rules import (
    LANGUAGES,
    UNSEEN_FOLDERS,
    language_of,
    left_out_by_content,
    left_out_by_path,
)
from gristmill.crawl.conversions import Losses, SourceText, local_url, write_conversions
from gristmill.crawl.licenses import all_allowed, is_license_file, license_of_text, spdx_tag
from gristmill.crawl.text_sources_config import CodeSource
from gristmill.report import Report

UNKNOWN_LICENSE = "unknown"
_LICENSE_BYTES = 100_000


def write_warcs(source: CodeSource, folder: Path) -> Report:
    """Write the files that are kept as WARC files. Raises ValueError when none is, and as `find_repositories`."""
    losses = Losses()
    report = write_conversions(_texts(source, losses), folder, losses, shard_bytes=source.shard_bytes)
    if report.rows_out == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "no files"
        raise ValueError(
            f"no file of source {source.name!r} is kept ({reasons}); loosen its rules or correct its paths"
        )
    return report


def find_repositories(source: CodeSource) -> dict[str, Path]:
    """The folders that the source's paths name, by their names, in alphabetical order.

    Raises ValueError for a path that is no local folder, a glob without one, and two folders of one name.
    """
    found: dict[str, Path] = {}
    for path in source.paths:
        place = Path(path).expanduser().absolute()
        folders = [place] if place.is_dir() else list(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
        folders = sorted(folder for folder in folders if folder.is_dir())
        if not folders:
            raise ValueError(
                f"ingest.sources: {path} of source {source.name!r} is no local folder; name folders that are "
                "repositories, or a glob of them, and clone or unpack them first"
            )
        for folder in folders:
            if found.get(folder.name, folder) != folder:
                raise ValueError(
                    f"ingest.sources: {found[folder.name]} and {folder} of source {source.name!r} would both be called "
                    f"{folder.name}; put them into two sources"
                )
            found[folder.name] = folder
    return dict(sorted(found.items()))


def tree_digest(folder: Path) -> str:
    """A digest of all files in a repository that can reach a text: those of a known language, and licences."""
    digest = hashlib.sha256()
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (language_of(PurePosixPath(name)) or is_license_file(path.name)):
            digest.update(f"{name}\0\n".encode("utf-8", "surrogateescape"))
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _texts(source: CodeSource, losses: Losses) -> Iterator[SourceText]:
    for repository, folder in find_repositories(source).items():
        licenses: dict[Path, str | None] = {}
        for path in _files(folder):
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            read = _read(source, path, inside)
            if isinstance(read, tuple):
                language, text = read
                license = spdx_tag(text) or _license_above(path.parent, folder, licenses)
                if source.licenses and not all_allowed(license or UNKNOWN_LICENSE, set(source.licenses)):
                    read = f"license:{license or UNKNOWN_LICENSE}"
                else:
                    url = local_url(source.name, f"{repository}/{_printable(str(inside))}")
                    yield SourceText(url, text, license=license, code_language=language)
                    continue
            losses.drop(read, f"{repository}/{_printable(str(inside))}")


def _read(source: CodeSource, path: Path, inside: PurePosixPath) -> tuple[str, str] | str:
    """A file's language and text, or the reason why it is left out."""
    if path.is_symlink():
        return "link"  # it may lead out of the repository, and what it leads to inside is read anyway
    by_path = left_out_by_path(inside)
    if by_path:
        return by_path
    language = language_of(inside)
    if language is None or language not in (source.languages or LANGUAGES):
        return "language"
    size = path.stat().st_size
    if not source.min_bytes <= size <= source.max_bytes:
        return "too_small" if size < source.min_bytes else "too_large"
    content = path.read_bytes()
    if b"\0" in content:
        return "binary"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "no_utf8"
    by_content = left_out_by_content(
        text,
        max_line_chars=source.max_line_chars,
        max_mean_line_chars=source.max_mean_line_chars,
        min_alnum_ratio=source.min_alnum_ratio,
    )
    return by_content or (language, text)


def _license_above(folder: Path, root: Path, known: dict[Path, str | None]) -> str | None:
    """The licence that the nearest folder with a recognized LICENSE file states, from here up to the repository's."""
    if folder not in known:
        stated = sorted({license for license in map(_license_in, _license_files(folder)) if license})
        above = None if folder == root else folder.parent
        known[folder] = " AND ".join(stated) or (_license_above(above, root, known) if above else None)
    return known[folder]


def _license_files(folder: Path) -> list[Path]:
    return [
        path for path in folder.iterdir() if is_license_file(path.name) and path.is_file() and not path.is_symlink()
    ]


def _license_in(path: Path) -> str | None:
    with path.open("rb") as file:
        return license_of_text(file.read(_LICENSE_BYTES).decode("utf-8", "replace"))


def _files(folder: Path) -> Iterator[Path]:
    """All files of a repository in an order that no machine decides, those of its version control left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in UNSEEN_FOLDERS)
        for name in sorted(names):
            path = Path(place) / name
            if path.is_symlink() or path.is_file():  # neither pipes nor sockets, which would block
                yield path


def _printable(name: str) -> str:
    """A file name, which may be any bytes on Linux, as text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
