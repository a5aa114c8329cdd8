"""`gristmill backup` and `restore`: what cannot be built again.

That is the two databases, the registry's files, and the books of the store:

    <home>/backups/20261126-120000/   prefect.db, mlflow.db, mlflow-artifacts/, books/ (runs, nights, promotions)

The artifacts themselves are not copied: the store is (or is mirrored to) the place that is backed up as files. The
databases are copied through SQLite, so that a write at the same moment leaves a whole copy; Postgres has `pg_dump`, and
a backup beside it holds the rest.
"""

import fcntl
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli import workspace
from gristmill.errors import ConfigError

BOOKS = ("runs", "nights", "promotions", "last_run.json")


def backup(*, keep: Annotated[int, Parameter(help="Backups that stay; the oldest make room.")] = 7) -> int:
    """Copy databases, registry and books to backups/ in GRISTMILL_HOME, while servers run."""
    print(back_up(workspace.home(), workspace.root(), keep=keep))
    return 0


def restore(folder: Path, /) -> int:
    """Fill an empty GRISTMILL_HOME with a backup. Artifacts are files: copy them there, before or after."""
    print("\n".join(bring_back(folder, workspace.home(), workspace.root())))
    print(
        "`gristmill up` starts the servers on them; `gristmill artifacts verify` says whether the artifacts are whole"
    )
    return 0


def back_up(home: Path, root: Path, *, keep: int) -> str:
    """Write a backup below `home`, drop the oldest beyond `keep`. Returns a sentence.

    home: where the servers keep their data; root: the store's folder on this machine. Only folders named by a date are
    backups; whatever else lies there stays. One that was not finished ends in `.part`, counts for nothing, and is
    removed by the next. Raises OSError when the disk is full, ConfigError when none is to be kept.
    """
    if keep < 1:
        raise ConfigError(f"--keep {keep}: nothing was backed up or deleted; keep at least 1, the backup made now")
    with _alone(home):
        for left in _named(home, r"\d{8}-\d{6}\.part"):
            shutil.rmtree(left)
        folder = _written(home, root)
        # by their names the clock, which may have gone backwards, would decide about the one made now
        older = [path for path in _named(home, r"\d{8}-\d{6}") if path != folder]
        for old in older[: len(older) - (keep - 1)]:
            shutil.rmtree(old)
        kept = len(_named(home, r"\d{8}-\d{6}"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}, {size / 1e6:,.1f} MB; {kept} backups are kept"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One backup at a time is written or deleted."""
    lock = home / ".locks" / "backup"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _named(home: Path, pattern: str) -> list[Path]:
    """Folders below `backups/` with such a name, oldest first."""
    return sorted(path for path in (home / "backups").glob("*") if re.fullmatch(pattern, path.name) and path.is_dir())


def _written(home: Path, root: Path) -> Path:
    """A new backup, whole."""
    folder = home / "backups" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    while folder.exists():  # one of this second
        time.sleep(0.1)
        folder = folder.with_name(f"{datetime.now(UTC):%Y%m%d-%H%M%S}")
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
    return folder


def bring_back(backup: Path, home: Path, root: Path) -> list[str]:
    """Fill a home that has no servers' data yet with a backup. Returns sentences.

    Raises ValueError where the folder is no backup, and where something lies in the way; then nothing is changed.
    """
    databases = {name: backup / f"{name}.db" for name in ("prefect", "mlflow") if (backup / f"{name}.db").is_file()}
    if not (databases or (backup / "books").is_dir()) or backup.name.endswith(".part"):
        raise ValueError(
            f"{backup} is no finished backup: it holds neither books/ nor prefect.db or mlflow.db; name a folder below "
            "backups/"
        )
    targets = {path: home / name / path.name for name, path in databases.items()}
    targets[backup / "mlflow-artifacts"] = home / "mlflow" / "artifacts"
    targets |= {backup / "books" / name: root / name for name in BOOKS}
    there = [str(target) for source, target in targets.items() if source.exists() and _has_content(target)]
    if there:
        raise ValueError(
            f"{', '.join(there)} would be overwritten; restore into an empty GRISTMILL_HOME, with artifacts alone in it"
        )
    for source, target in targets.items():
        if target.is_dir() and source.exists():
            target.rmdir()
        _copy(source, target)
    return [f"{source.relative_to(backup)} is at {target}" for source, target in targets.items() if source.exists()]


def _has_content(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


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
