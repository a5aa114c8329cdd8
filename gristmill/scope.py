"""Which artifacts a question is about: those of one run, or those behind one artifact; and what was built from them.

Everything is read from the records of the store. What was deleted since is named, never passed over.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from gristmill.store import ArtifactStore, Record

VERDICTS = "verdicts.parquet"


@dataclass(frozen=True)
class Scope:
    """Whole artifacts, each after those it was made from."""

    name: str
    """How to speak of it: `run web-20261101-030000`, or an artifact's address."""
    store: ArtifactStore
    records: tuple[Record, ...]
    gone: tuple[str, ...] = ()
    """Addresses that belong here, but lie in the store no more or are broken."""

    def path(self, record: Record) -> Path:
        return self.store.path(record.address)

    def file(self, record: Record, name: str) -> Path:
        return self.store.file(record.address, name)

    def judged(self) -> list[Record]:
        """The artifacts that hold a verdict for every page that entered them. Raises ValueError when there are none,
        or when one of them keeps verdicts of dropped pages only."""
        found = [record for record in self.records if holds(record, VERDICTS)]
        if not found:
            gone = f"; gone from the store: {', '.join(self.gone)}" if self.gone else ""
            raise ValueError(
                f"{self.name} holds no verdicts.parquet{gone}; expected at least what the stage "
                "extract made: run the flow again, or ask another run or artifact"
            )
        for record in found:
            if "decision" not in pq.read_schema(self.file(record, VERDICTS)).names:
                raise ValueError(
                    f"{record.address}/{VERDICTS} has no column `decision`: it was written by an earlier gristmill, "
                    "which kept verdicts of dropped pages only; run the flow again"
                )
        return found

    def of_kind(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.recipe.kind == kind]


def scope_of_run(store: ArtifactStore, name: str, addresses: Iterable[str]) -> Scope:
    """The artifacts that a run built or reused; `addresses` in the order of its stages."""
    known = [address for address in addresses if not address.endswith("-unknown")]
    records = {address: store.find(address) for address in dict.fromkeys(known)}
    whole = tuple(record for record in records.values() if record)
    return Scope(f"run {name}", store, whole, tuple(address for address, record in records.items() if not record))


def scope_of_artifact(store: ArtifactStore, address: str) -> Scope:
    """An artifact with all its ancestors. Raises FileNotFoundError or BrokenArtifact when it is not whole itself."""
    store.load(address)
    records: dict[str, Record | None] = {}

    def visit(current: str) -> None:
        if current in records:
            return
        record = records[current] = store.find(current)
        for source in inputs_of(record) if record else ():
            visit(source)
        del records[current]
        records[current] = record  # now behind everything it was made from

    visit(address)
    whole = tuple(record for record in records.values() if record)
    return Scope(address, store, whole, tuple(each for each, record in records.items() if not record))


def descendants(records: Iterable[Record], addresses: Iterable[str]) -> list[Record]:
    """Those of the records that were made, directly or not, from one of the addresses; oldest first."""
    reached, found = set(addresses), []
    # an artifact is never older than its inputs, unless one of them was refreshed: ask until nothing is added
    waiting = sorted(records, key=lambda record: record.created)
    while True:
        added = [record for record in waiting if reached.intersection(inputs_of(record))]
        if not added:
            return sorted(found, key=lambda record: record.created)
        found += added
        reached.update(record.address for record in added)
        waiting = [record for record in waiting if record.address not in reached]


def inputs_of(record: Record) -> Iterator[str]:
    """Addresses of the artifacts that this one was made from."""
    for value in record.recipe.inputs.values():
        if value and "/" in value:
            yield value


def holds(record: Record, file: str) -> bool:
    return any(entry.path == file for entry in record.files)
