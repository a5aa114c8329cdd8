"""What of a remote store nothing refers to any more, and what of its copies this machine can do without.

A record refers to its files, a kept shard to its own; a shard is used where an artifact's record has one of its files.
Another machine may be in the middle of an upload, whose record comes last: what is younger than a day is let alone, and
an upload that finds an old file there gives it a new date (`Objects.keep`). Dates are therefore looked at again just
before something is deleted. Left open: the moment between that look and its delete; an artifact that loses a file in it
counts as broken and is built again.
"""

import fcntl
import shutil
from collections.abc import Iterable
from datetime import timedelta

from pydantic import ValidationError

from gristmill.objects import FILES, GRACE
from gristmill.remote_store import RemoteStore
from gristmill.shard_cache import FOLDER, ShardEntry
from gristmill.store import BrokenArtifact, Record


def unused_objects(store: RemoteStore, *, grace: timedelta = GRACE) -> dict[str, int]:
    """Name → size of objects that nothing refers to and that were written longer than `grace` ago.

    Raises ValueError where a record cannot be read: nobody knows what it refers to.
    """
    lie = store.objects.listing()  # first: what is published from here on is young
    records = store.objects.each(lambda name: _record(store, name), [name for name in lie if _is_record(name)])
    used = {entry.sha256 for record in records if record for entry in record.files}
    shards = [name for name in lie if name.startswith(f"{FOLDER}/") and name.endswith(".json")]
    unused = {}
    for name, entry in zip(shards, store.objects.each(lambda name: _entry(store, name), shards), strict=True):
        if (entry is None or used.isdisjoint(entry.sha256)) and lie[name].is_older_than(grace):
            unused[name] = lie[name].size
        elif entry:
            used.update(entry.sha256)  # its files lie together: one of them used, all are
    for name, facts in lie.items():
        is_file = name.startswith(f"{FILES}/") and name.rpartition("/")[2] not in used
        if (is_file or name.endswith(".tmp")) and facts.is_older_than(grace):
            unused[name] = facts.size
    return unused


def delete_unused(store: RemoteStore, names: Iterable[str], *, grace: timedelta = GRACE) -> list[str]:
    """Delete objects that were unused. Returns their names, without those that got a new date meanwhile."""

    def delete(name: str) -> str | None:
        facts = store.objects.facts(name)
        if facts is None or not facts.is_older_than(grace):
            return None
        store.objects.delete([name])
        return name

    return [name for name in store.objects.each(delete, names) if name]


def copies_beyond(store: RemoteStore, keep_bytes: int | None) -> dict[str, int]:
    """Address → size of copies on this disk: of artifacts that the store has no more, and of those that were used
    longest ago what is beyond `keep_bytes`. None: of the latter none."""
    marks = sorted(store.root.glob("[!.]*/*-*/record.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    found, kept = {}, 0
    for mark in marks:
        address = f"{mark.parent.parent.name}/{mark.parent.name}"
        size = sum(path.stat().st_size for path in mark.parent.rglob("*") if path.is_file())
        is_current = store.objects.read(f"{address}/record.json") == mark.read_bytes()
        if not is_current or (keep_bytes is not None and kept + size > keep_bytes):
            found[address] = size
        else:
            kept += size
    return found


def delete_copy(store: RemoteStore, address: str) -> bool:
    """Delete this machine's copy. False, and nothing is deleted, where a process of this machine reads it."""
    with store.lock_file(address, "use").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(store.place(address), ignore_errors=True)
        return True


def _is_record(name: str) -> bool:
    return not name.startswith(".") and name.endswith("/record.json")


def _record(store: RemoteStore, name: str) -> Record | None:
    try:
        return store.recorded(name.removesuffix("/record.json"))
    except FileNotFoundError:
        return None  # deleted since it was listed
    except (ValueError, BrokenArtifact) as error:
        raise ValueError(
            f"{store}/{name} cannot be read, so its files cannot be told from unused ones ({error}); collect with the "
            "gristmill that wrote it, or delete that record if nobody needs its artifact"
        ) from error


def _entry(store: RemoteStore, name: str) -> ShardEntry | None:
    try:
        return ShardEntry.model_validate_json(store.objects.read(name) or b"")
    except ValidationError:
        return None
