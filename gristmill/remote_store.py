"""The artifact store on an object store, or whatever else fsspec reaches; stages go on working on files of this disk.

    <url>/<kind>/<stage>-<id>/record.json     an artifact exists if and only if this does and what it names is there
    <url>/.files/ab/abcd…                     every file of every artifact, by its sha256
    <url>/.shards/…                           results of shards (gristmill/remote_shards.py)
    <root>/<kind>/<stage>-<id>/               this machine's copy, made when a stage or a question reads it

Records are the bytes that a local store has. Publishing uploads files and then the record, in one request, so whoever
reads sees the old artifact or the new one: a record names contents, and contents never change. A draft that is finished
but not uploaded is kept and uploaded by the next builder of its address.

Builders of one address on one machine wait for each other, as in a local store. Machines do not: the first to publish
wins (If-None-Match), and the other one throws its draft away and takes what is there. Where something is replaced that
both saw (--refresh, a broken artifact), the later one wins if both come within the moment between a look and a request.
"""

import fcntl
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from gristmill.fingerprint import read_sha256
from gristmill.objects import DamagedObject, Objects, file_object
from gristmill.progress import progress
from gristmill.record import BrokenArtifact, FileEntry, Recipe, Record, is_changed, parse_record, was_read
from gristmill.remote_shards import RemoteShardCache
from gristmill.report import Report
from gristmill.shard_cache import ShardCache
from gristmill.store import ArtifactStore

SHOWN_BYTES = 100_000_000
"""Of one artifact; from there on its transfer is shown."""


class RemoteStore(ArtifactStore):
    """Artifacts below a URL. root: the folder of this machine for copies, drafts and locks; of this store alone."""

    def __init__(self, objects: Objects, root: Path) -> None:
        super().__init__(root)
        self.objects = objects
        self._replaced: dict[Path, bytes | None] = {}
        """Draft → the record that its address had when its building began."""
        self._in_use: dict[str, IO[str]] = {}
        """Address → the lock that keeps gc from a copy while this process lives."""
        self._reads: Counter[str] = Counter()
        """Address → how many stages of this process read it."""

    def __str__(self) -> str:
        return self.objects.url

    def path(self, address: str) -> Path:
        """The copy of an artifact on this disk, with all its files; what is missing of it is brought.

        Raises FileNotFoundError when the store has no such artifact, BrokenArtifact when a file of it is not there or
        not what its record says.
        """
        content = self._content_of(address)
        record = parse_record(address, content)
        return self._bring(address, content, record, record.files)

    @contextmanager
    def reading(self, addresses: Iterable[str]) -> Iterator[None]:
        """The same with all their files here. Raises as `path` does."""
        wanted = list(addresses)
        while True:
            for address in wanted:
                self.path(address)
            with super().reading(wanted):
                # between the two another process may have begun a copy of what another machine published
                if all(self._is_copied(address) for address in wanted):
                    self._reads.update(wanted)
                    try:
                        yield
                    finally:
                        self._reads.subtract(wanted)
                    return

    def file(self, address: str, name: str) -> Path:
        """The same for one of its files; nothing is brought where the artifact is gone or has none of that name."""
        try:
            content = self._content_of(address)
            record = parse_record(address, content)
            wanted = [entry for entry in record.files if entry.path == name]
        except (FileNotFoundError, BrokenArtifact):
            return self.place(address) / name
        return self._bring(address, content, record, wanted) / name

    def addresses(self) -> list[str]:
        """Of all artifacts that have a record, whole or broken."""
        return _addresses(self.objects.listing())

    def records(self) -> list[Record]:
        """All whole artifacts, oldest first."""
        lie = self.objects.listing()
        found = []
        for record in self.objects.each(self._recorded_or_none, _addresses(lie)):
            sizes = {entry.sha256: entry.size for entry in record.files} if record else {}
            facts = {sha256: lie.get(file_object(sha256)) for sha256 in sizes}
            if record and all((fact := facts[sha256]) and fact.size == size for sha256, size in sizes.items()):
                found.append(record)
        return sorted(found, key=lambda record: record.created)

    def publish(self, draft: Path, recipe: Recipe, report: Report, **facts: Any) -> Record:
        """Upload a draft as the artifact; it becomes this machine's copy.

        Returns the record that the store has afterwards: this one, or that of another machine which was first.
        """
        record = self._finish(draft, recipe, report, facts)
        return self._send(draft, record, self._replaced.pop(draft))

    def verify(self, address: str) -> list[str]:
        """Hash every file in the store, and those that this machine has a copy of. Returns one sentence per fault."""
        faults = super().verify(address)
        copy = self.place(address)
        with suppress(FileNotFoundError, BrokenArtifact):
            record = self.recorded(address)
            if (copy / "record.json").read_bytes() == self._content_of(address):
                faults += [
                    f"{address}: {entry.path} is damaged in this machine's copy; delete {copy}, it is brought again"
                    for entry in record.files
                    if (copy / entry.path).is_file() and read_sha256(copy / entry.path) != entry.sha256
                ]
        return faults

    def shard_cache(self, name: str, *, fresh: bool) -> ShardCache:
        """Results of shards, kept under what decides them; fresh: none is taken."""
        return RemoteShardCache(Path(name), fresh=fresh, objects=self.objects)

    def unsent(self, draft: Path) -> Record | None:
        """The record of a draft that is finished and waits for its upload."""
        try:
            record = Record.model_validate_json((draft / "record.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        sizes = [path.stat().st_size if (path := draft / entry.path).is_file() else None for entry in record.files]
        return record if sizes == [entry.size for entry in record.files] else None

    def _before_building(self, draft: Path, address: str, *, rebuild: bool) -> None:
        before = self._replaced[draft] = self._record_bytes(address)
        record = self.unsent(draft)
        if record is None:
            return
        there = self.find(address)
        if there is None or (rebuild and record.created > there.created):
            self._send(draft, record, before)
            self._replaced[draft] = self._record_bytes(address)

    def _send(self, draft: Path, record: Record, before: bytes | None) -> Record:
        """before: the record that this one may take the place of."""
        # what is replaced may be damaged in a way that its size does not show
        self._move("upload", record.address, record.files, lambda entry: self._keep(draft, entry, anew=bool(before)))
        name, content = f"{record.address}/record.json", (draft / "record.json").read_bytes()
        if before is None:
            is_ours = self.objects.create(name, content)
        elif is_ours := self.objects.read(name) == before:
            self.objects.write(name, content)
        # an answer may be lost and its request repeated: then what is there is ours
        if not is_ours and self.objects.read(name) != content:
            if other := self.find(record.address):
                shutil.rmtree(draft)
                return other
            self.objects.write(name, content)  # broken meanwhile
        with self._writing(record.address):
            self._put_in_place(draft, record.address)
        return record

    def _bring(self, address: str, content: bytes, record: Record, files: list[FileEntry]) -> Path:
        """content: of record.json. Files that are here and whole are not brought again."""
        folder = self.place(address)
        self._hold(address)
        with self._writing(address):
            if not _is_copy_of(content, folder):
                if self._reads[address]:
                    raise BrokenArtifact(f"{address} was replaced by another machine while it is read here; run again")
                with self._replacing(address):
                    _become_copy_of(content, folder)
            missing = [entry for entry in files if not _is_here(folder, entry, record)]
            self._move("download", address, missing, lambda entry: self._fetch(entry, record, folder))
        return folder

    def _is_copied(self, address: str) -> bool:
        folder = self.place(address)
        try:
            record = parse_record(address, (folder / "record.json").read_bytes())
        except (FileNotFoundError, BrokenArtifact):
            return False
        return all(_is_here(folder, entry, record) for entry in record.files)

    def _move(self, what: str, address: str, files: list[FileEntry], move: Callable[[FileEntry], None]) -> None:
        """move(entry) for each file, several at a time; what takes long is shown."""
        size = sum(entry.size for entry in files)
        if size < SHOWN_BYTES:
            self.objects.each(move, files)
            return
        with progress(f"{what} {address}", total=round(size / 1e6), unit="MB") as bar:

            def move_and_count(entry: FileEntry) -> None:
                move(entry)
                bar.advance(entry.size / 1e6)

            self.objects.each(move_and_count, files)

    def _keep(self, draft: Path, entry: FileEntry, *, anew: bool) -> None:
        self.objects.keep(draft / entry.path, entry.sha256, anew=anew)

    def _fetch(self, entry: FileEntry, record: Record, folder: Path) -> None:
        try:
            self.objects.fetch(entry.sha256, folder / entry.path)
            was_read(folder / entry.path, record.created)  # it was hashed on its way
        except (FileNotFoundError, DamagedObject) as error:
            stage = record.recipe.stage
            raise BrokenArtifact(
                f"{record.address}: {entry.path} is damaged in {self} ({error}); build it again with --refresh {stage}"
            ) from None

    def _hold(self, address: str) -> None:
        if address not in self._in_use:
            handle = self.lock_file(address, "use").open("a")
            fcntl.flock(handle, fcntl.LOCK_SH)
            self._in_use[address] = handle

    @contextmanager
    def _writing(self, address: str) -> Iterator[None]:
        with self.lock_file(address, "copy").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _record_bytes(self, address: str) -> bytes | None:
        self.place(address)
        return self.objects.read(f"{address}/record.json")

    def _recorded_or_none(self, address: str) -> Record | None:
        try:
            return self.recorded(address)
        except (ValueError, FileNotFoundError, BrokenArtifact):
            return None

    def _sizes(self, record: Record) -> Iterator[int | None]:
        yield from self.objects.each(lambda entry: self.objects.size(file_object(entry.sha256)), record.files)

    def _changed(self, record: Record) -> str | None:
        """None: an object's name is its content's digest; a copy that was changed is brought again."""
        return None

    def _digests(self, record: Record) -> Iterator[str]:
        yield from self.objects.each(lambda entry: self.objects.digest(file_object(entry.sha256)), record.files)


def _addresses(names: Iterable[str]) -> list[str]:
    found = [name for name in names if name.endswith("/record.json") and not name.startswith(".")]
    return sorted(name.removesuffix("/record.json") for name in found)


def _is_here(folder: Path, entry: FileEntry, record: Record) -> bool:
    path = folder / entry.path
    return path.is_file() and path.stat().st_size == entry.size and not is_changed(folder, entry, record.created)


def _is_copy_of(record: bytes, folder: Path) -> bool:
    mark = folder / "record.json"
    if not (mark.is_file() and mark.read_bytes() == record):
        return False
    mark.touch()  # when it was used last, for gc
    return True


def _become_copy_of(record: bytes, folder: Path) -> None:
    """Empty a copy that was made of another record under this address."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    temporary = folder / "record.json.tmp"
    temporary.write_bytes(record)
    temporary.rename(folder / "record.json")
