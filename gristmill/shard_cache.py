"""Results of shards by what decided them: a crawl that overlaps an earlier one takes from there what both have.

    <root>/.shards/<stage>-<fingerprint>/<key>/    entry.json, 0, 1, … the files that the shard wrote

The fingerprint stands for stage, version, configuration and code; the key for the bytes of the input file and whatever
else of the shard decides its result. Code is part of it, though an artifact's address leaves it out: an artifact whose
shards were made by different code would be neither the old one nor the new one.

An entry appears by one rename, and is believed only if its files have the sha256 it records. They enter an artifact as
hard links, or copies where the file system has no links, so readers of artifacts know nothing of this. An entry is
referred to by every artifact whose record lists one of its files; `gristmill artifacts gc` removes the others.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from gristmill.fingerprint import read_sha256
from gristmill.schema import Schema

FOLDER = ".shards"
STALE_S = 3600.0
"""Age of an unfinished entry that nobody is writing any more: to write one takes as long as to link or copy files."""


class PureShard(Protocol):
    """A shard whose result is a function of one input file, of `facts`, and of what its stage's fingerprint says."""

    @property
    def input(self) -> tuple[Path, str]:
        """The file, and the sha256 that it is recorded with."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What else decides the result; JSON-able."""
        ...

    @property
    def files(self) -> list[Path]:
        """Where the shard writes, in a fixed order; their names decide nothing."""
        ...


S = TypeVar("S", bound=PureShard)


class ShardEntry(Schema):
    """`entry.json`: digests of the files a shard wrote, in its order, and what it returned."""

    sha256: list[str]
    summary: dict[str, Any]


@dataclass(frozen=True)
class ShardCache:
    """The results of one stage under one fingerprint. fresh: none is taken (`--refresh`), each is replaced."""

    folder: Path
    fresh: bool = False

    def reusing(self, function: Callable[[S], dict[str, Any]]) -> "Callable[[S], dict[str, Any]]":
        """`function` for `map_shards`, called only for shards that are not here; workers read and write the cache.

        The summary of one that was taken from here has `reused: true`.
        """
        return Reusing(function, self)

    def take(self, shard: PureShard) -> dict[str, Any] | None:
        """Put the shard's files in place and return its summary; None when there is no whole entry."""
        folder = self.folder / shard_key(shard)
        try:
            entry = ShardEntry.model_validate_json((folder / "entry.json").read_bytes())
            kept = [folder / str(number) for number in range(len(shard.files))]
            if self.fresh or [read_sha256(path) for path in kept] != entry.sha256:
                return None
            for path, target in zip(kept, shard.files, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)  # of a run that was killed before it committed the shard
                _link(path, target)
        except (FileNotFoundError, ValueError):  # none, half of one after a power cut, or removed by gc meanwhile
            return None
        return entry.summary

    def put(self, shard: PureShard, summary: dict[str, Any]) -> None:
        """Keep what a shard has just written."""
        final = self.folder / shard_key(shard)
        draft = final.with_name(f"{final.name}.{uuid.uuid4().hex}.tmp")
        draft.mkdir(parents=True)
        for number, path in enumerate(shard.files):
            _link(path, draft / str(number))
        entry = ShardEntry(sha256=[read_sha256(path) for path in shard.files], summary=summary)
        (draft / "entry.json").write_text(entry.model_dump_json())
        _replace(draft, final)


@dataclass(frozen=True)
class Reusing(Generic[S]):
    """A function of shards that asks a cache first."""

    function: Callable[[S], dict[str, Any]]
    cache: ShardCache

    def __call__(self, shard: S) -> dict[str, Any]:
        found = self.cache.take(shard)
        if found is not None:
            return found | {"reused": True}
        _require_recorded_bytes(shard)
        summary = self.function(shard)
        self.cache.put(shard, summary)
        return summary


def fingerprint(**decisive: Any) -> str:
    """The digest of JSON-able values."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def unused_entries(root: Path, recorded: Set[str]) -> Iterator[Path]:
    """Entries of a store that nothing refers to, and unfinished ones that nobody writes any more.

    recorded: sha256 of all files of all artifacts. A draft that is being built refers to an entry by its links.
    """
    for folder in sorted((root / FOLDER).glob("*/*")):
        try:
            if not _is_used(folder, recorded):
                yield folder
        except FileNotFoundError:  # a worker has finished or replaced it meanwhile
            continue


def recorded_sha256(artifact: Path) -> dict[str, str]:
    """Relative path → sha256 of all files that an artifact's record lists."""
    record = json.loads((artifact / "record.json").read_bytes())
    return {entry["path"]: entry["sha256"] for entry in record["files"]}


def _is_used(folder: Path, recorded: Set[str]) -> bool:
    if folder.name.endswith(".tmp"):
        return time.time() - folder.stat().st_mtime < STALE_S
    try:
        entry = ShardEntry.model_validate_json((folder / "entry.json").read_bytes())
    except ValueError:
        return False
    linked = any(path.stat().st_nlink > 1 for path in folder.iterdir())
    return linked or not recorded.isdisjoint(entry.sha256)


def shard_key(shard: PureShard) -> str:
    """The digest of what decides the shard's result within its stage."""
    facts = {"input": shard.input[1], **shard.facts}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def _require_recorded_bytes(shard: PureShard) -> None:
    # else a damaged input would hand its result, under the name of the whole one, to every later artifact
    path, recorded = shard.input
    if (found := read_sha256(path)) != recorded:
        raise ValueError(
            f"{path.parent.name}/{path.name} has sha256 {found[:12]}…, recorded is {recorded[:12]}…: it was changed or "
            "damaged after it was published; `gristmill artifacts verify` looks at all, --refresh builds it again"
        )


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links, or one with no more for this file
        shutil.copyfile(path, target)


def _replace(draft: Path, final: Path) -> None:
    """Rename a folder to a name that another worker may take at the same time; either one's content is right."""
    try:
        draft.rename(final)
    except OSError:  # there is one: stale, refreshed, or from a worker that was given up and works on
        old = draft.with_name(f"{draft.name}.old.tmp")
        try:
            final.rename(old)
            draft.rename(final)
        except OSError:  # and another one was quicker again
            shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
