"""Which finished stages the tracking server has not heard all of yet: a small file each, below the store's folder.

    <root>/.undelivered/<run>    the tracking server's run; holds the artifact's address

It is written before delivery begins and removed when it is done, so a kill in between leaves it too. Who delivers
holds a lock on it, which the kernel drops with its holder: a run is told by one process at a time.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = ".undelivered"


class Undelivered:
    """root: the store's folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    @contextmanager
    def delivering(self, run_id: str, address: str) -> Iterator[None]:
        """A stage is finished and its run is told inside the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{run_id}.tmp"
        with temporary.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            handle.write(address)
            handle.flush()
            temporary.rename(self.folder / run_id)
            yield

    def delivered(self, run_id: str) -> None:
        (self.folder / run_id).unlink(missing_ok=True)

    def left(self) -> Iterator[tuple[str, str]]:
        """Each run and its artifact's address, held until the next is asked for.

        Left out is what another process delivers just now, or has delivered.
        """
        for path in sorted(self.folder.glob("[!.]*")):
            with suppress(FileNotFoundError, BlockingIOError), path.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # opened, it may have been removed before it was locked
                    yield path.name, handle.read()
