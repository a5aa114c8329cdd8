"""A series of crawls: what earlier runs brought, and what there is beside that.

The book of a series is `nights/SERIES.jsonl` in the store (in a remote one: gristmill/crawl/stored_nights.py), a line
for each night that was ingested, cleaned and deduplicated to the end. A night that was cut off has no line, so its
files are new again, and the same address continues its drafts. A night that was built again, with what the line says,
gets a second line, which holds from then on. A file is known by its content, wherever it lies; a source of another kind
(a crawl of Common Crawl, a dump) by its identity as a whole. Pages that come again in a new file are the matter of
`dedup`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.crawl.config import IngestConfig, Source, WarcSource
from gristmill.promotion.journal import Journal

FOLDER = "nights"


@dataclass(frozen=True)
class Night:
    """A finished night: what it was made from, and the addresses of what was made."""

    name: str
    documents: str
    """Of `dedup`."""
    known: str
    seen: list[str]
    """The contents that no later night brings again."""
    warcs: str | None = None
    """Of `ingest`. None, as `config`, in lines of an older gristmill."""
    config: dict[str, Any] | None = None
    """The settings of its stages, by which it can be built again."""

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Night":
        """From what a book says of it."""
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__ if name in entry})


@dataclass(frozen=True)
class Unseen:
    """What no earlier night has. seen: the same, as a book remembers it."""

    ingest: IngestConfig
    seen: list[str]


class Series:
    """The book of one series."""

    def __init__(self, root: Path, name: str) -> None:
        self._journal = Journal(root, name, folder=FOLDER)

    def nights(self) -> list[Night]:
        """Oldest first. Raises ValueError where the book no longer says what every night brought."""
        nights: dict[str, Night] = {}
        for entry in self._journal.read():
            night = Night.of(entry)
            if (entry["event"] == "night") == (night.name in nights):
                raise self._damaged(f"{night.name} begins {'twice' if night.name in nights else 'nowhere'}")
            nights[night.name] = night
        if unreadable := self._journal.unreadable():
            raise self._damaged(f"line {unreadable[0]} cannot be read")
        if missing := missing_night(list(nights.values())):
            raise self._damaged(f"there is no {missing}, but {max(nights)}")
        return list(nights.values())

    def add(self, night: Night, *, run: str) -> None:
        """The night is over."""
        self._write("night", night, run)

    def replace(self, night: Night, *, run: str) -> None:
        """The night was built again."""
        self._write("again", night, run)

    def _write(self, event: str, night: Night, run: str) -> None:
        self._journal.remove_cut_end()
        self._journal.append(event, run=run, **vars(night))

    def _damaged(self, fault: str) -> ValueError:
        return ValueError(
            f"{self._journal.path}: {fault}, so nobody knows what that night brought; bring the file back from a "
            f"backup (backups/DATE/books/{FOLDER}), or begin another series (nights.series)"
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process of this machine at a time brings a night; the kernel lets go when it dies."""
        with self._journal.held():
            yield


def next_name(nights: Sequence[Night]) -> str:
    return _name(len(nights) + 1)


def missing_night(nights: Sequence[Night]) -> str | None:
    """The first one that should be there, since a later one is."""
    names = [night.name for night in nights]
    return next((name for number in range(1, len(names) + 1) if (name := _name(number)) not in names), None)


def _name(number: int) -> str:
    return f"n{number:04d}"


def unseen(
    ingest: IngestConfig, nights: Sequence[Night], *, warn: Callable[[str], None] = lambda text: None
) -> Unseen | None:
    """The sources, without what a night has brought; None when nothing is left.

    warn: is told of a path with nothing there, where a night has brought its source: files may have been moved away.
    Raises as the sources' identities do: ValueError for a path of another source with nothing there, SourceUnavailable.
    """
    brought = {fact for night in nights for fact in night.seen}
    sources: list[Source] = []
    seen: list[str] = []
    for source in ingest.sources:
        left = _files_unseen(source, brought, warn) if isinstance(source, WarcSource) else _whole(source, brought)
        if left:
            sources.append(left[0])
            seen.extend(left[1])
    # a weight is a matter of the mix, which has all sources; without it some may be left out here
    bare = [source.model_copy(update={"weight": None}) for source in sources]
    return Unseen(IngestConfig(sources=bare), seen) if bare else None


def _files_unseen(
    source: WarcSource, brought: set[str], warn: Callable[[str], None]
) -> tuple[Source, list[str]] | None:
    from gristmill.crawl.warc_files import find_warc_files, fingerprints

    was_there = any(fact.startswith(f"{source.name} ") for fact in brought)
    missing = (lambda error: warn(f"{error}; nothing new comes from there")) if was_there else None
    files = find_warc_files(source.paths, source=source.name, missing=missing)
    contents = [f"{source.name} {facts.get('sha256') or facts['etag']}" for facts in fingerprints(files)]
    new = {file.location: content for file, content in zip(files, contents, strict=True) if content not in brought}
    return (source.model_copy(update={"paths": list(new)}), list(new.values())) if new else None


def _whole(source: Source, brought: set[str]) -> tuple[Source, list[str]] | None:
    fact = f"{source.name} {json.dumps(source.identity(), sort_keys=True)}"
    return None if fact in brought else (source, [fact])
