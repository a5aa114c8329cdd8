"""The book of a series in a remote store: `nights/SERIES/n0001.json`, an object for each night, seen by all machines.

A night is noted where there is none of its name yet, in one request. Machines that bring a night at the same time do
not know of each other until then; the first one's holds.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.crawl.nights import FOLDER, Night, Series, missing_night
from gristmill.objects import Objects


class StoredSeries:
    """What `Series` is, in a store. root: the store's folder on this machine."""

    def __init__(self, objects: Objects, root: Path, name: str) -> None:
        self._objects, self._folder = objects, f"{FOLDER}/{name}"
        self._here = Series(root, name)

    def nights(self) -> list[Night]:
        """Oldest first. Raises ValueError where one is missing or cannot be read, StoreUnavailable."""
        names = sorted(name for name in self._objects.listing(self._folder) if name.endswith(".json"))
        found = [night for night in self._objects.each(self._read, names) if night]
        if missing := missing_night(found):
            raise self._damaged(f"has no {missing}, but {found[-1].name}")
        return found

    def add(self, night: Night, *, run: str) -> None:
        """The night is over. Raises RuntimeError where another machine has brought another one of its name."""
        if not self._objects.create(self._place(night.name), _line(night, run)):
            other = self._read(self._place(night.name))
            if other is None or other.seen != night.seen:
                raise RuntimeError(
                    f"another machine has brought {night.name} of {self._objects.url}/{self._folder} meanwhile; what "
                    "was built is kept: run again, and what is still new becomes the next night"
                )

    def replace(self, night: Night, *, run: str) -> None:
        """The night was built again."""
        self._objects.write(self._place(night.name), _line(night, run))

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process of this machine at a time brings a night."""
        with self._here.held():
            yield

    def _place(self, name: str) -> str:
        return f"{self._folder}/{name}.json"

    def _read(self, place: str) -> Night | None:
        content = self._objects.read(place)
        try:
            return None if content is None else Night.of(json.loads(content))
        except (ValueError, TypeError):
            raise self._damaged(f"has an object {place} that cannot be read") from None

    def _damaged(self, fault: str) -> ValueError:
        return ValueError(
            f"{self._objects.url}/{self._folder} {fault}, so nobody knows what that night brought; bring the object "
            "back from a copy of the store, or begin another series (nights.series)"
        )


def _line(night: Night, run: str) -> bytes:
    return json.dumps({"run": run, **vars(night)}, ensure_ascii=False).encode()
