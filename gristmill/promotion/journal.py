"""Who decided what about a registered model, when, on which numbers: a file of JSON lines that only ever grows.

One entry is one write, synced to disk, so that several writers and kills leave whole lines. A line that was cut off (a
full disk) is skipped by readers. The file is of one store; what other machines decided with stores of their own stands
in the tags of the registry alone.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = "promotions"

Entry = dict[str, Any]


class Journal:
    """The entries about one registered model. Each has `id`, `at` (UTC) and `event`; the rest is the event's."""

    def __init__(self, root: Path, model: str, *, folder: str = FOLDER) -> None:
        """root: the store's folder on this machine. folder: another one for what is no promotion."""
        self.model = model
        self.path = root / folder / f"{model}.jsonl"

    def append(self, event: str, **facts: Any) -> Entry:
        """Write an entry; it is on the disk when this returns."""
        entry = {"id": uuid.uuid4().hex[:12], "at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event}
        entry |= facts
        # the line break before it ends a line that a full disk may have cut off
        line = f"\n{json.dumps(entry, ensure_ascii=False)}\n".encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if written != len(line):
            raise OSError(f"{self.path}: {written} of {len(line)} bytes were written; is the disk full?")
        return entry

    def read(self) -> list[Entry]:
        """All whole entries, oldest first."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [entry for line in lines if line and (entry := _entry(line))]

    def unreadable(self) -> list[int]:
        """Numbers of lines that hold no entry, but for an end that was cut off."""
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        return [number for number, line in enumerate(lines, start=1) if line and _entry(line) is None]

    def remove_cut_end(self) -> None:
        """Of an entry that a full disk or a dead machine cut off. For who holds the journal."""
        if self.path.exists():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process of this machine at a time decides; the kernel lets go when it dies."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _entry(line: bytes) -> Entry | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
