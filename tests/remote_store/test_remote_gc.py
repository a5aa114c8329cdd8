"""What nothing names is found and deleted; what is young, used or read stays."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from machines import RECIPE, Machine, publish, sha256_of
from s3_endpoint import S3Endpoint

from flows.cli import artifacts as artifacts_command
from gristmill.objects import GRACE, Objects, file_object
from gristmill.remote_gc import copies_beyond, delete_copy, delete_unused, unused_objects
from gristmill.remote_store import RemoteStore
from gristmill.store import Recipe

NOW = timedelta(0)


def other(number: int) -> Recipe:
    return RECIPE.model_copy(update={"config": {"number": number}})


def test_files_of_a_replaced_artifact_and_of_a_broken_upload_are_unused_when_they_are_old(machine: Machine):
    mill = machine("mill")
    old = publish(mill, "old")
    new = publish(mill, "new")
    mill.objects.write(file_object("0" * 64), b"of an upload that was killed")
    assert unused_objects(mill) == {}, f"younger than {GRACE}: another machine may be about to name them"
    unused = unused_objects(mill, grace=NOW)
    same = sha256_of(old, "report.json")
    assert same == sha256_of(new, "report.json")
    mine = {file_object(entry.sha256): entry.size for entry in old.files if entry.sha256 != same}
    assert unused == {**mine, file_object("0" * 64): 28}
    mill.objects.delete(unused)
    assert unused_objects(mill, grace=NOW) == {}
    assert mill.verify(RECIPE.address) == []


def test_a_record_of_another_format_stops_it(machine: Machine):
    mill = machine("mill")
    publish(mill)
    name = f"{RECIPE.address}/record.json"
    newer = json.loads(mill.objects.read(name) or b"") | {"format": 99}
    mill.objects.write(name, json.dumps(newer).encode())
    with pytest.raises(ValueError, match=rf"{name} cannot be read.*format 99"):
        unused_objects(mill, grace=NOW)


def test_an_old_file_that_an_upload_finds_there_is_not_deleted_any_more(tmp_path: Path):
    mill = RemoteStore(Objects(f"file://{tmp_path}/store"), tmp_path / "mill")
    name = file_object(sha256_of(publish(mill)))
    mill.objects.delete([f"{RECIPE.address}/record.json"])
    old = time.time() - 2 * GRACE.total_seconds()
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (old, old))
    listed = unused_objects(mill)  # by a gc that goes on below
    assert name in listed
    publish(mill)
    assert delete_unused(mill, listed) == []
    assert mill.verify(RECIPE.address) == []


def test_a_file_that_gc_might_take_is_uploaded_again(machine: Machine, s3: S3Endpoint, tmp_path: Path, monkeypatch):
    objects = machine("mill").objects
    (tmp_path / "a").write_text("grist")
    objects.keep(tmp_path / "a", "0" * 64)
    objects.keep(tmp_path / "a", "0" * 64)
    assert len(s3.asked("PUT")) == 1
    monkeypatch.setattr("gristmill.objects.GRACE", NOW)
    objects.keep(tmp_path / "a", "0" * 64)
    assert len(s3.asked("PUT")) == 2


def test_copies_of_artifacts_that_are_gone_and_the_longest_unused_ones_can_go(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    addresses = [publish(mill, recipe=other(number)).address for number in range(3)]
    for address in addresses:
        shop.path(address)
    assert copies_beyond(shop, None) == {}
    size = sum(path.stat().st_size for path in shop.path(addresses[0]).rglob("*") if path.is_file())
    shop.path(addresses[1])
    shop.path(addresses[0])  # used last
    assert list(copies_beyond(shop, 2 * size)) == [addresses[2]]
    mill.objects.delete([f"{addresses[1]}/record.json"])
    assert list(copies_beyond(shop, None)) == [addresses[1]]


def test_a_copy_that_a_process_reads_is_not_deleted(machine: Machine):
    reader, cleaner = machine("shop"), machine("shop")
    publish(machine("mill"))
    folder = reader.path(RECIPE.address)
    assert not delete_copy(cleaner, RECIPE.address)
    assert (folder / "a.txt").exists()
    reader._in_use.clear()  # as when its process ends
    assert delete_copy(cleaner, RECIPE.address)
    assert not folder.exists()
    assert (reader.path(RECIPE.address) / "a.txt").exists()


def test_the_command_lists_and_deletes(machine: Machine, s3: S3Endpoint, monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRISTMILL_STORE", machine("any").objects.url)
    from flows.cli import workspace

    store = workspace.store()
    publish(store, "old")
    assert store.root.parent == tmp_path / "home" / ".remote"
    assert artifacts_command.gc(copies_gb=0) == 0
    said = capsys.readouterr().out
    assert "no drafts are left over" in said
    assert "would delete 0 objects" in said
    assert f"would delete this machine's copy of {RECIPE.address}" in said
    store._in_use.clear()  # type: ignore[reportAttributeAccessIssue]
    assert artifacts_command.gc(yes=True, copies_gb=0) == 0
    assert "deleted this machine's copy" in capsys.readouterr().out
    assert not store.place(RECIPE.address).exists()
    assert store.verify(RECIPE.address) == []
    assert artifacts_command.verify() == 0
    assert artifacts_command.list_() == 0
    assert RECIPE.address in capsys.readouterr().out
