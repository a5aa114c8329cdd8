"""Replies by question, one JSON line each, synced before it counts; a line that a crash cut off is dropped."""

import json
import os
from pathlib import Path
from typing import Any


class Memory:
    """A mapping of keys to JSON objects that only grows."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError naming the line that is damaged, other than a torn last one."""
        self._path, self._known = path, dict[str, dict[str, Any]]()
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(content) - len(torn))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                self._known[row["key"]] = row["reply"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path.name}:{number}: not a remembered reply; delete the file to ask all again"
                ) from error

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._known[key]

    def add(self, key: str, reply: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"key": key, "reply": reply}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[key] = reply
