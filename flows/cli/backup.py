"""A backup of what cannot be built again: the two databases, the registry's files, and the books of the store.

    <home>/backups/20261126-120000/   prefect.db, mlflow.db, mlflow-artifacts/, books/ (runs, nights, promotions)

The artifacts themselves are not copied: the store is (or is mirrored to) the place that is backed up as files. The
databases are copied through SQLite, so that a write at the same moment leaves a whole copy; Postgres has `pg_dump`.
"""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

BOOKS = ("runs", "nights", "promotions", "last_run.json")


def back_up(home: Path, root: Path, *, keep: int) -> str:
    """Write a backup below `home`, drop the oldest beyond `keep`. Returns a sentence.

    home: where the servers keep their data; root: the store's folder on this machine. Raises OSError when the disk is
    full; a backup that was not finished ends in `.part` and counts for nothing.
    """
    folder = home / "backups" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True)
    for name in ("prefect", "mlflow"):
        database = home / name / f"{name}.db"
        if database.exists():
            copy_database(database, part / database.name)
    _copy(home / "mlflow" / "artifacts", part / "mlflow-artifacts")
    for name in BOOKS:
        _copy(root / name, part / "books" / name)
    part.rename(folder)
    backups = sorted(path for path in folder.parent.iterdir() if not path.name.endswith(".part"))
    for old in backups[:-keep]:
        shutil.rmtree(old)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}, {size / 1e6:,.1f} MB; {min(len(backups), keep)} backups are kept"


def copy_database(source: Path, target: Path) -> None:
    """A copy of a SQLite database that others go on writing to."""
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
