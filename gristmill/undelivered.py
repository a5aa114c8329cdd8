"""Which finished stages the tracking server has not heard all of yet: a small file each, below the store's folder.

    <root>/.undelivered/<run>    the tracking server's run; holds the artifact's address

It is written before delivery begins and removed when it is done, so a kill in between leaves it too.
"""

from pathlib import Path

FOLDER = ".undelivered"


class Undelivered:
    """root: the store's folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def begin(self, run_id: str, address: str) -> None:
        """A stage is finished and its run is about to be told."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{run_id}.tmp"
        temporary.write_text(address)
        temporary.rename(self.folder / run_id)

    def delivered(self, run_id: str) -> None:
        (self.folder / run_id).unlink(missing_ok=True)

    def runs(self) -> dict[str, str]:
        """Run → address of the artifact."""
        return {path.name: path.read_text() for path in sorted(self.folder.glob("[!.]*"))}
