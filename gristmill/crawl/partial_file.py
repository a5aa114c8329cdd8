"""A file while it is fetched: it has its final name if and only if it is whole.

    path.part          the bytes so far
    path.part.json     which version of the remote file they are of, how long it is, its digest

The notes are written before the bytes, so that a fetch killed at any moment is continued with the same version, or
begun anew.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class PartialFile:
    """What there is of `path`, which comes from `url`; a part left by an earlier fetch of the same url is taken up."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self._notes_file = path.with_name(path.name + ".part.json")
        self.notes: dict[str, Any] = {"url": url}
        known = self._read_notes()
        if known.get("url") == url and self.part.exists():
            self.notes = known
        else:
            self.restart()

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def version(self) -> str | None:
        return self.notes.get("version")

    def restart(self) -> None:
        """Throw away the bytes and all that is known of the file but its address."""
        self.part.unlink(missing_ok=True)
        self.notes = {"url": self.notes["url"]}
        self._notes_file.unlink(missing_ok=True)

    def note(self, **facts: Any) -> None:
        """Write down what the server says of the file; to be called before the bytes it is about are written."""
        self.notes |= {name: fact for name, fact in facts.items() if fact is not None}
        self._notes_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._notes_file.with_name(self._notes_file.name + ".new")
        temporary.write_text(json.dumps(self.notes))
        temporary.replace(self._notes_file)

    def digest_differs(self) -> bool:
        """Whether the bytes are not those of the digest in the notes; False without one."""
        stated = self.notes.get("digest")
        if not stated:
            return False
        algorithm, expected = stated
        return self.digest(algorithm) != expected

    def digest(self, algorithm: str = "sha256") -> str:
        with self.part.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    def commit(self, finish: Callable[[Path], None]) -> None:
        """Let `finish` change or refuse the part, then give it its final name."""
        self.part.touch()  # a file of no bytes
        finish(self.part)
        self._notes_file.unlink(missing_ok=True)
        self.part.rename(self.path)

    def _read_notes(self) -> dict[str, Any]:
        try:
            known = json.loads(self._notes_file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
