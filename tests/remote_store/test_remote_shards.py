"""Shards on a remote store: computed once for all machines, stored once with the artifacts that have them."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from machines import REPORT, Machine
from s3_endpoint import S3Endpoint

from gristmill.objects import file_object
from gristmill.remote_gc import unused_objects
from gristmill.shards import map_shards
from gristmill.store import Recipe


@dataclass(frozen=True)
class Grinding:
    """One sack of grain, ground into two files."""

    sack: Path
    out: Path

    @property
    def input(self) -> tuple[Path, str]:
        return self.sack, hashlib.sha256(self.sack.read_bytes()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        return {"miller": "Ann"}

    @property
    def files(self) -> list[Path]:
        return [self.out / "flour.txt", self.out / "deep" / "bran.txt"]


@dataclass
class Mill:
    ground: list[str] = field(default_factory=list)

    def __call__(self, shard: Grinding) -> dict[str, Any]:
        self.ground.append(shard.sack.name)
        for path in shard.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{path.stem} of {shard.sack.read_text()}")
        return {"chars": len(shard.sack.read_text())}


@pytest.fixture
def sack(tmp_path: Path) -> Path:
    (tmp_path / "rye").write_text("rye")
    return tmp_path / "rye"


def texts(shard: Grinding) -> list[str]:
    return [path.read_text() for path in shard.files]


def test_a_shard_that_another_machine_computed_is_taken(machine: Machine, sack: Path, tmp_path: Path):
    mill = Mill()
    first, second = Grinding(sack, tmp_path / "a"), Grinding(sack, tmp_path / "b")
    assert machine("mill").shard_cache("grind-01", fresh=False).reusing(mill)(first) == {"chars": 3}
    assert machine("shop").shard_cache("grind-01", fresh=False).reusing(mill)(second) == {"chars": 3, "reused": True}
    assert mill.ground == ["rye"]
    assert texts(second) == texts(first) == ["flour of rye", "bran of rye"]
    assert "reused" not in machine("shop").shard_cache("grind-02", fresh=False).reusing(mill)(second)


@pytest.mark.parametrize("damage", ["flip a byte", "truncate", "garble entry", "delete entry", "delete file"])
def test_a_damaged_shard_is_computed_again_and_replaced(machine: Machine, sack: Path, tmp_path: Path, damage: str):
    cache, objects = machine("mill").shard_cache("grind-01", fresh=False), machine("mill").objects
    cache.reusing(Mill())(Grinding(sack, tmp_path / "a"))
    (entry,) = [name for name in objects.listing() if name.startswith(".shards/grind-01/")]
    bran = file_object(hashlib.sha256(b"bran of rye").hexdigest())
    match damage:
        case "flip a byte":
            objects.write(bran, b"Bran of rye")
        case "truncate":
            objects.write(bran, b"")
        case "garble entry":
            objects.write(entry, b'{"sha256": [')
        case "delete entry":
            objects.delete([entry])
        case "delete file":
            objects.delete([bran])
    second, third = Grinding(sack, tmp_path / "b"), Grinding(sack, tmp_path / "c")
    assert "reused" not in cache.reusing(Mill())(second)
    assert cache.reusing(Mill())(third)["reused"]
    assert texts(second) == texts(third) == ["flour of rye", "bran of rye"]


def test_refresh_computes_all_and_replaces_what_was_kept(machine: Machine, sack: Path, tmp_path: Path):
    cache, mill = machine("mill").shard_cache("grind-01", fresh=False), Mill()
    cache.reusing(Mill())(Grinding(sack, tmp_path / "a"))
    assert "reused" not in replace(cache, fresh=True).reusing(mill)(Grinding(sack, tmp_path / "b"))
    assert mill.ground == ["rye"]


def test_a_shard_is_stored_once_with_its_artifacts_and_goes_when_the_last_one_has(
    machine: Machine, s3: S3Endpoint, tmp_path: Path
):
    store = machine("mill")
    sacks = [tmp_path / name for name in ("rye", "wheat")]
    recipe = Recipe(kind="documents", stage="grind", version=1, config={}, inputs={})
    with store.building(recipe.address) as draft:
        for sack in sacks:
            sack.write_text(sack.name)
        grind = store.shard_cache("grind-01", fresh=False).reusing(Mill())
        shards = [(sack.name, Grinding(sack, draft / sack.name)) for sack in sacks]
        map_shards(grind, shards, draft, workers=1, label="grind")
        (draft / "wheat" / "flour.txt").unlink()
        (draft / "wheat" / "deep" / "bran.txt").unlink()
        s3.requests.clear()
        store.publish(draft, recipe, REPORT, label="grind", run="test", seconds=1.0)
    sent = [name for name in s3.asked("PUT") if "/.files/" in name]
    assert len(sent) == 1, "the report alone: what the shard wrote was there"
    wheat = [file_object(hashlib.sha256(f"{part} of wheat".encode()).hexdigest()) for part in ("flour", "bran")]
    assert unused_objects(store) == {}
    unused = unused_objects(store, grace=timedelta(0))
    assert sorted(name for name in unused if name.startswith(".files/")) == sorted(wheat)
    assert len([name for name in unused if name.startswith(".shards/")]) == 1
    store.objects.delete(unused)
    assert store.verify(recipe.address) == []
    again = Grinding(sacks[0], tmp_path / "again")
    assert store.shard_cache("grind-01", fresh=False).reusing(Mill())(again)["reused"]
