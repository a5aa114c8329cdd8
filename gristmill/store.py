"""The artifact store: folders that exist if and only if they are whole.

An artifact is `<root>/<kind>/<stage>-<id>/`, where `id` is a digest of what decides its bytes (stage, version,
configuration, inputs). It is filled as a draft under `.drafts/`; `record.json` is written last and lists every file
with its size and sha256; then the draft is renamed. A builder holds a lock on the address, so two builders of one
key never share a draft and the second finds the first one's artifact. Addresses look like
`documents/dedup-60d09ddec826` everywhere.

The same on an object store, with copies on this disk, is gristmill/remote_store.py. Left out: model aliases, which live
in the MLflow registry alone.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gristmill.fingerprint import read_sha256
from gristmill.folder_swap import put_in_place, sync
from gristmill.record import BrokenArtifact as BrokenArtifact
from gristmill.record import FileEntry as FileEntry
from gristmill.record import Recipe as Recipe
from gristmill.record import Record as Record
from gristmill.record import changed_file, check_sizes, parse_record, sizes_in
from gristmill.report import Report
from gristmill.shard_cache import FOLDER, ShardCache

SCRATCH = ".done"
"""Folder of a draft for what lets a killed build go on, such as the commits of shards; no part of the artifact."""


class ArtifactStore:
    """Artifacts below one folder. Every method takes and returns addresses, paths and records; nothing is cached."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        """How to speak of it."""
        return str(self.root)

    def place(self, address: str) -> Path:
        """Where the artifact lies or would lie. Raises ValueError for a string that is no address."""
        kind, _, name = address.partition("/")
        stage, _, digest = name.rpartition("-")
        safe = all(part and set(part) <= _NAME_CHARACTERS for part in (kind, stage, digest))
        if not safe:
            raise ValueError(
                f"{address!r} is no artifact address; expected KIND/STAGE-ID such as documents/dedup-60d09ddec826"
            )
        return self.root / kind / name

    def path(self, address: str) -> Path:
        """Where the artifact lies, to read its files there."""
        return self.place(address)

    def file(self, address: str, name: str) -> Path:
        """Where one of its files lies; it may have none of that name."""
        return self.place(address) / name

    def find(self, address: str) -> Record | None:
        """The record of a whole artifact: every listed file is there with its size, and with its content where it was
        written to since it was published. None when it is not, or broken."""
        try:
            return self.load(address)
        except (FileNotFoundError, BrokenArtifact):
            return None

    def load(self, address: str) -> Record:
        """Like find, but says what is wrong. Raises FileNotFoundError or BrokenArtifact."""
        record = self.recorded(address)
        check_sizes(record, self._sizes(record))
        if changed := self._changed(record):
            raise BrokenArtifact(f"{address}: {changed} was changed after it was published; it will be rebuilt")
        return record

    def recorded(self, address: str) -> Record:
        """The record alone; nobody looks at the files. Raises FileNotFoundError or BrokenArtifact."""
        return parse_record(address, self._content_of(address))

    def verify(self, address: str) -> list[str]:
        """Hash every file. Returns one sentence per fault; an empty list means the bytes are as published."""
        try:
            record = self.load(address)
        except (FileNotFoundError, BrokenArtifact) as error:
            return [str(error)]
        return [
            f"{address}: {entry.path} does not have the sha256 its record says"
            for entry, found in zip(record.files, self._digests(record), strict=True)
            if found != entry.sha256
        ]

    def report(self, address: str) -> Report:
        return Report.model_validate_json(self.file(address, "report.json").read_bytes())

    def addresses(self) -> list[str]:
        """Of all artifacts that have a record, whole or broken."""
        paths = self.root.glob("[!.]*/*-*/record.json")
        return sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in paths)

    def records(self) -> list[Record]:
        """All whole artifacts, oldest first."""
        found = [self.find(address) for address in self.addresses()]
        return sorted((record for record in found if record), key=lambda record: record.created)

    def shard_cache(self, name: str, *, fresh: bool) -> ShardCache:
        """Results of shards, kept under what decides them; fresh: none is taken."""
        return ShardCache(self.root / FOLDER / name, fresh=fresh)

    @contextmanager
    def reading(self, addresses: Iterable[str]) -> Iterator[None]:
        """While the block lasts no process of this machine replaces these artifacts; one that wants to waits."""
        with ExitStack() as held:
            for address in sorted(set(addresses)):
                handle = held.enter_context(self.lock_file(address, "read").open("a"))
                fcntl.flock(handle, fcntl.LOCK_SH)
                held.callback(fcntl.flock, handle, fcntl.LOCK_UN)  # a worker that was forked meanwhile has it open too
            yield

    @contextmanager
    def building(self, address: str, *, resume: str | None = None, rebuild: bool = False) -> Iterator[Path]:
        """Hold the address's lock and yield a draft folder to fill. Ask `find` again inside: another may have won.

        rebuild: what is there is to be replaced.
        resume: stands for what may continue a draft left by a crash; one that was begun under another is emptied
        first, and every one where it is None.
        """
        draft = self.root / ".drafts" / address.replace("/", ".")
        lock = self.root / ".locks" / address.replace("/", ".")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # the kernel drops it when the holder dies, so no crash blocks a key
            self._before_building(draft, address, rebuild=rebuild)
            begun = draft / SCRATCH / "begun"
            if draft.exists() and not (resume and begun.is_file() and begun.read_text() == resume):
                shutil.rmtree(draft)
            begun.parent.mkdir(parents=True, exist_ok=True)
            begun.write_text(resume or "")
            yield draft
            if draft.exists() and [path for path in draft.rglob("*") if path.is_file()] == [begun]:
                shutil.rmtree(draft)  # the builder found the artifact made by another

    def _before_building(self, draft: Path, address: str, *, rebuild: bool) -> None:
        """Called when the lock is held and the draft is as its last builder left it."""

    def publish(self, draft: Path, recipe: Recipe, report: Report, **facts: Any) -> Record:
        """Turn a draft into the artifact: report, record, fsync, rename. `facts` are the remaining Record fields.

        What lay there before (a broken artifact, or one being refreshed) gives way when nobody is `reading` it, and is
        removed only once the draft is in its place. After any failure or kill the old artifact is there, or the new.
        """
        record = self._finish(draft, recipe, report, facts)
        self._put_in_place(draft, recipe.address)
        return record

    def _finish(self, draft: Path, recipe: Recipe, report: Report, facts: dict[str, Any]) -> Record:
        """Make the draft a whole artifact that only lies in another place."""
        if (draft / SCRATCH).exists():
            shutil.rmtree(draft / SCRATCH)
        (draft / "report.json").write_text(report.model_dump_json(indent=2))
        (draft / "record.json").unlink(missing_ok=True)  # of a builder that died between writing it and the rename
        files = sorted(path for path in draft.rglob("*") if path.is_file())
        entries = [
            FileEntry(path=str(path.relative_to(draft)), size=path.stat().st_size, sha256=_synced_sha256(path))
            for path in files
        ]
        record = Record(address=recipe.address, recipe=recipe, created=datetime.now(UTC), files=entries, **facts)
        temporary = draft / "record.json.tmp"
        temporary.write_text(record.model_dump_json(indent=2))
        sync(temporary)
        temporary.rename(draft / "record.json")
        sync(draft)
        return record

    def _put_in_place(self, draft: Path, address: str) -> None:
        final = self.place(address)
        final.parent.mkdir(parents=True, exist_ok=True)
        with self._replacing(address):
            replaced = put_in_place(draft, final)
            sync(final.parent)
        if replaced:
            shutil.rmtree(replaced, ignore_errors=True)

    @contextmanager
    def _replacing(self, address: str) -> Iterator[None]:
        """Nobody is reading it."""
        with self.lock_file(address, "read").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{address} is read by another run, and replaced after that", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def lock_file(self, address: str, use: str) -> Path:
        """A lock of this machine on an artifact, for one use of it."""
        path = self.root / ".locks" / f"{address.replace('/', '.')}.{use}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def lineage(self, address: str) -> Iterator[tuple[int, str, Record | None]]:
        """The tree from an artifact back to its sources, depth first: (depth, "input: address", record)."""
        yield from self._lineage(address, 0, address)

    def _lineage(self, address: str, depth: int, shown: str) -> Iterator[tuple[int, str, Record | None]]:
        record = self.find(address)
        yield depth, shown, record
        for name, source in (record.recipe.inputs if record else {}).items():
            if source and "/" in source:
                yield from self._lineage(source, depth + 1, f"{name}: {source}")

    def drafts(self) -> list[Path]:
        """Drafts nobody is building: their lock is free."""
        return [draft for draft in sorted((self.root / ".drafts").glob("*")) if not self._is_locked(draft.name)]

    def discard(self, draft: Path) -> bool:
        """Delete a draft, holding its lock. False, and nothing is deleted, when somebody is building it after all."""
        lock = self.root / ".locks" / draft.name.removesuffix(".old")
        with lock.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(draft)
            return True

    def _content_of(self, address: str) -> bytes:
        content = self._record_bytes(address)
        if content is None:
            raise FileNotFoundError(f"no artifact {address} in {self}; `gristmill artifacts list` shows what is there")
        return content

    def _record_bytes(self, address: str) -> bytes | None:
        try:
            return (self.place(address) / "record.json").read_bytes()
        except FileNotFoundError:
            return None

    def _sizes(self, record: Record) -> Iterator[int | None]:
        """Of each file that a record lists, as it lies there; None for one that does not."""
        yield from sizes_in(self.place(record.address), record)

    def _changed(self, record: Record) -> str | None:
        return changed_file(self.place(record.address), record)

    def _digests(self, record: Record) -> Iterator[str]:
        """The sha256 of each file that a record lists, of what lies there."""
        folder = self.place(record.address)
        yield from (read_sha256(folder / entry.path) for entry in record.files)

    def _is_locked(self, name: str) -> bool:
        lock = self.root / ".locks" / name.removesuffix(".old")
        if not lock.exists():
            return False
        with lock.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


def _synced_sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest
