"""What maintenance deletes, finds and backs up; each part without Prefect."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from flows.cli.artifacts import collect
from flows.cli.backup import back_up, bring_back
from flows.cli.maintenance import verify
from gristmill.errors import ConfigError
from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.delenv("GRISTMILL_STORE", raising=False)
    return tmp_path


def publish(home: Path) -> Path:
    store = ArtifactStore(home)
    recipe = Recipe(kind="documents", stage="filter", version=1, config={}, inputs={})
    with store.building(recipe.address) as draft:
        (draft / "part-00000.parquet").write_bytes(b"rows")
        facts = {"label": "filter", "run": "r", "seconds": 0.0, "resources": {}, "code": {}, "git_commit": None}
        store.publish(draft, recipe, Report(rows_in=1, rows_out=1), **facts)
    return home / recipe.address


def test_only_drafts_that_nobody_touched_for_long_are_deleted(home: Path):
    long_ago = time.time() - 20 * 86_400
    for name, when in (("checkpoint.sft-000000000000", long_ago), ("checkpoint.align-000000000000", None)):
        draft = home / ".drafts" / name
        draft.mkdir(parents=True)
        (home / ".locks").mkdir(exist_ok=True)
        (draft / "model.safetensors").write_bytes(b"weights")
        if when:
            os.utime(draft / "model.safetensors", (when, when))
            os.utime(draft, (when, when))
    shards = "every kept shard belongs to an artifact"
    old, young = "checkpoint.sft-000000000000", "checkpoint.align-000000000000"
    assert next(collect(yes=False, drafts_older_than_days=14)) == f"would delete {old}"
    assert list(collect(yes=True, drafts_older_than_days=14)) == [f"deleted {old}", shards]
    assert [path.name for path in (home / ".drafts").iterdir()] == [young]
    assert list(collect(yes=True, drafts_older_than_days=14)) == ["no drafts are left over for 14 days", shards]
    assert list(collect(yes=True)) == [f"deleted {young}", shards]


def test_a_changed_byte_is_named(home: Path):
    folder = publish(home)
    assert verify() == ["1 artifacts are as published"]
    (folder / "part-00000.parquet").write_bytes(b"rowz")
    with pytest.raises(RuntimeError, match=r"part-00000\.parquet was changed after it was published"):
        verify()


def test_a_backup_holds_a_database_that_is_written_to_and_the_books(home: Path):
    (home / "mlflow" / "artifacts" / "1").mkdir(parents=True)
    (home / "mlflow" / "artifacts" / "1" / "model.safetensors").write_bytes(b"weights")
    (home / "nights").mkdir()
    (home / "nights" / "crawl.jsonl").write_text('{"name": "n0001"}\n')
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as live:
        live.execute("pragma journal_mode=wal")
        live.execute("create table versions (name text)")
        live.execute("insert into versions values ('gristmill')")
        live.commit()
        live.execute("insert into versions values ('not committed')")
        back_up(home, home, keep=2)
    (folder,) = (home / "backups").iterdir()
    with closing(sqlite3.connect(folder / "mlflow.db")) as copy:
        assert copy.execute("select name from versions").fetchall() == [("gristmill",)]
    assert (folder / "mlflow-artifacts" / "1" / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "books" / "nights" / "crawl.jsonl").read_text() == '{"name": "n0001"}\n'


def test_a_backup_fills_an_empty_home_and_no_other(home: Path, tmp_path: Path):
    (home / "mlflow" / "artifacts" / "1").mkdir(parents=True)
    (home / "mlflow" / "artifacts" / "1" / "model.safetensors").write_bytes(b"weights")
    (home / "runs").mkdir()
    (home / "runs" / "night.json").write_text("{}")
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as live:
        live.execute("create table versions (name text)")
        live.execute("insert into versions values ('gristmill')")
        live.commit()
    back_up(home, home, keep=2)
    (backup,) = (home / "backups").iterdir()
    new = tmp_path / "new"
    bring_back(backup, new, new)
    with closing(sqlite3.connect(new / "mlflow" / "mlflow.db")) as copy:
        assert copy.execute("select name from versions").fetchall() == [("gristmill",)]
    assert (new / "mlflow" / "artifacts" / "1" / "model.safetensors").read_bytes() == b"weights"
    assert (new / "runs" / "night.json").read_text() == "{}"
    with pytest.raises(ValueError, match=r"mlflow\.db.* would be overwritten"):
        bring_back(backup, new, new)
    with pytest.raises(ValueError, match="is no finished backup"):
        bring_back(home / "runs", tmp_path / "other", tmp_path / "other")


def test_the_oldest_backups_make_room(home: Path):
    for name in ("20251123-120000", "20251124-120000", "20251125-120000"):
        (home / "backups" / name).mkdir(parents=True)
    said = back_up(home, home, keep=2)
    made = Path(said.partition(",")[0])
    assert sorted((home / "backups").iterdir()) == [home / "backups" / "20251125-120000", made]
    assert said.endswith("2 backups are kept")


def test_a_backup_that_was_cut_off_is_removed_by_the_next(home: Path):
    (home / "backups" / "20251125-130000.part").mkdir(parents=True)
    made = Path(back_up(home, home, keep=2).partition(",")[0])
    assert list((home / "backups").iterdir()) == [made]


@pytest.mark.parametrize("keep", [1, 2])
def test_the_backup_made_now_stays_though_the_clock_has_gone_backwards(home: Path, keep: int):
    later = ("29990101-120000", "29990102-120000")
    for name in later:
        (home / "backups" / name).mkdir(parents=True)
    made = Path(back_up(home, home, keep=keep).partition(",")[0])
    assert sorted((home / "backups").iterdir()) == [made, *(home / "backups" / name for name in later[3 - keep :])]


def test_what_is_no_backup_of_ours_stays(home: Path):
    (home / "backups" / "2025-before-upgrade").mkdir(parents=True)
    (home / "backups" / "saved.part").mkdir()
    (home / "backups" / ".DS_Store").write_bytes(b"")
    made = Path(back_up(home, home, keep=1).partition(",")[0])
    left = {path.name for path in (home / "backups").iterdir()}
    assert left == {"2025-before-upgrade", "saved.part", ".DS_Store", made.name}


def test_beside_postgres_a_backup_of_the_books_alone_is_brought_back(home: Path, tmp_path: Path):
    (home / "runs").mkdir()
    (home / "runs" / "night.json").write_text("{}")
    back_up(home, home, keep=1)
    (backup,) = (home / "backups").iterdir()
    assert sorted(path.name for path in backup.iterdir()) == ["books"]
    new = tmp_path / "new"
    bring_back(backup, new, new)
    assert (new / "runs" / "night.json").read_text() == "{}"


@pytest.mark.parametrize("keep", [0, -1])
def test_a_backup_that_keeps_none_is_refused_before_anything_is_deleted(home: Path, keep: int):
    (home / "backups" / "20261124-120000").mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"--keep {keep}: .* keep at least 1"):
        back_up(home, home, keep=keep)
    assert [path.name for path in (home / "backups").iterdir()] == ["20261124-120000"]
