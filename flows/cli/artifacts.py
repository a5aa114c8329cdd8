"""`gristmill artifacts`: what is in the store, where it came from, whether its bytes still hold."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli import workspace

if TYPE_CHECKING:
    from gristmill.remote_store import RemoteStore
    from gristmill.store import ArtifactStore

app = App(name="artifacts", help="Look into the artifact store.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


@app.command(name="list")
def list_(*, as_json: Json = False) -> int:
    """Every whole artifact, oldest first."""
    records = workspace.store().records()
    if as_json:
        rows = [{"key": r.address, "stage": r.label, "created": r.created.isoformat(), "run": r.run} for r in records]
        print(json.dumps({"schema_version": 1, "artifacts": rows}, indent=2))
        return 0
    for record in records:
        size_mb = sum(entry.size for entry in record.files) / 1e6
        print(f"{record.created:%Y-%m-%d %H:%M}  {record.address:<40} {size_mb:>8.1f} MB  {record.run}")
    return 0


@app.command
def show(address: str, /, *, as_json: Json = True) -> int:
    """An artifact's record and report; always as JSON."""
    store = workspace.store()
    record = store.load(address)
    report = store.report(address).model_dump(mode="json")
    print(json.dumps({"schema_version": 1, "record": record.model_dump(mode="json"), "report": report}, indent=2))
    return 0


@app.command
def lineage(address: str, /, *, as_json: Json = False) -> int:
    """The tree from an artifact back to the WARC files."""
    store = workspace.store()
    store.load(address)  # says what is wrong with the one that was asked for
    tree = list(store.lineage(address))
    if as_json:
        rows = [{"depth": depth, "key": shown.rpartition(" ")[2], "whole": bool(r)} for depth, shown, r in tree]
        print(json.dumps({"schema_version": 1, "lineage": rows}, indent=2))
        return 0
    seen: set[str] = set()
    folded = len(tree)  # depth of a subtree that was shown before
    for depth, shown, record in tree:
        if depth > folded:
            continue
        folded = len(tree)
        key = shown.rpartition(" ")[2]
        note = "" if record else "  (gone or broken)"
        if key in seen and record and record.recipe.inputs:
            note, folded = "  (shown above)", depth
        seen.add(key)
        print("  " * depth + shown + note)
        if record and record.recipe.kind == "warcs" and not note:
            for entry in record.files:
                if ".warc" in entry.path:
                    print("  " * (depth + 1) + f"{entry.path}  {entry.size:,} bytes  sha256 {entry.sha256[:16]}…")
    return 0


@app.command
def verify(address: str | None = None, /, *, as_json: Json = False) -> int:
    """Hash the files of one artifact, or of all, and name those that differ from their record."""
    checked, faults = hashed(address)
    if as_json:
        print(json.dumps({"schema_version": 1, "checked": checked, "faults": faults}, indent=2))
    else:
        print("\n".join(faults) or f"{checked} artifacts are as published")
    return 1 if faults else 0


def hashed(address: str | None = None) -> tuple[int, list[str]]:
    """How many artifacts were hashed, one or all, and which files differ from their record."""
    store = workspace.store()
    addresses = [address] if address else store.addresses()
    return len(addresses), [fault for each in addresses for fault in store.verify(each)]


@app.command
def gc(
    *,
    yes: Annotated[bool, Parameter(negative="", help="Delete; without it only listed.")] = False,
    copies_gb: Annotated[
        float | None,
        Parameter(help="Of a remote store's copies on this disk, the last used ones stay up to this size."),
    ] = None,
) -> int:
    """Drafts that nobody is building any more, shards and files that no artifact holds: listed, deleted with --yes.

    Of a remote store (GRISTMILL_STORE) also this machine's copies of artifacts that are gone there.
    """
    for line in collect(yes=yes, copies_gb=copies_gb):
        print(line)
    return 0


def collect(*, yes: bool, copies_gb: float | None = None, drafts_older_than_days: float = 0) -> Iterator[str]:
    """What `gc` does, a line for each thing that is deleted, or would be. A draft younger than so many days stays."""
    from gristmill.remote_store import RemoteStore

    store = workspace.store()
    yield from _collect_drafts(store, yes, drafts_older_than_days)
    if isinstance(store, RemoteStore):
        yield from _collect_objects(store, yes)
        yield from _collect_copies(store, copies_gb, yes)
    else:
        yield from _collect_shards(store, yes)


def _collect_drafts(store: "ArtifactStore", yes: bool, older_than_days: float) -> Iterator[str]:
    from gristmill.remote_store import RemoteStore

    before = time.time() - older_than_days * 86_400
    drafts = [draft for draft in store.drafts() if not older_than_days or _touched(draft) < before]
    for draft in drafts:
        if not yes:
            unsent = isinstance(store, RemoteStore) and store.unsent(draft)
            yield f"would delete {draft.name}" + (", finished; the next run of it uploads it" if unsent else "")
        elif store.discard(draft):
            yield f"deleted {draft.name}"
    if not drafts:
        yield "no drafts are left over" + (f" for {older_than_days:g} days" if older_than_days else "")
    elif not yes:
        yield "a training draft holds the checkpoints its next run resumes from; delete with --yes"


def _touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _collect_objects(store: "RemoteStore", yes: bool) -> Iterator[str]:
    from gristmill.remote_gc import delete_unused, unused_objects

    unused = unused_objects(store)
    names = delete_unused(store, unused) if yes else list(unused)
    size = sum(unused[name] for name in names)
    yield f"{'deleted' if yes else 'would delete'} {len(names):,} objects that nothing names, {size / 1e6:,.1f} MB"


def _collect_copies(store: "RemoteStore", copies_gb: float | None, yes: bool) -> Iterator[str]:
    from gristmill.remote_gc import copies_beyond, delete_copy

    copies = copies_beyond(store, None if copies_gb is None else int(copies_gb * 1e9))
    for address, size in copies.items():
        if not yes:
            yield f"would delete this machine's copy of {address}, {size / 1e6:,.1f} MB"
        elif delete_copy(store, address):
            yield f"deleted this machine's copy of {address}, {size / 1e6:,.1f} MB"


def _collect_shards(store: "ArtifactStore", yes: bool) -> Iterator[str]:
    from gristmill.shard_cache import unused_entries

    recorded = {entry.sha256 for record in store.records() for entry in record.files}
    counts, sizes = Counter(), Counter()
    for entry in unused_entries(store.root, recorded):
        counts[entry.parent.name] += 1
        sizes[entry.parent.name] += sum(path.stat().st_size for path in entry.iterdir())
        if yes:
            shutil.rmtree(entry)
    for name, count in sorted(counts.items()):
        verb = "deleted" if yes else "would delete"
        yield f"{verb} {count:,} shards of {name} that no artifact holds, {sizes[name] / 1e6:,.1f} MB"
    if not counts:
        yield "every kept shard belongs to an artifact"
