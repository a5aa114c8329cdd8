"""A shard is computed once for all artifacts with its input; what is kept of it is believed only when it is whole."""

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.cli import artifacts as artifacts_command
from gristmill import shard_cache
from gristmill.report import Report
from gristmill.shard_cache import FOLDER, ShardCache, fingerprint, unused_entries
from gristmill.shards import map_shards
from gristmill.store import ArtifactStore, Recipe
from tasks.extract import extract
from tasks.signals import signals


@dataclass(frozen=True)
class Grinding:
    """One sack of grain, ground into two files."""

    sack: Path
    out: Path
    miller: str = "Ann"
    recorded: str | None = None

    @property
    def input(self) -> tuple[Path, str]:
        return self.sack, self.recorded or hashlib.sha256(self.sack.read_bytes()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        return {"miller": self.miller}

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
            path.write_text(f"{path.stem} of {shard.sack.read_text()} by {shard.miller}")
        return {"chars": len(shard.sack.read_text())}


@pytest.fixture
def sack(tmp_path: Path) -> Path:
    (tmp_path / "rye").write_text("rye")
    return tmp_path / "rye"


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / FOLDER / "grind-0123")


def texts(shard: Grinding) -> list[str]:
    return [path.read_text() for path in shard.files]


def test_a_shard_seen_before_is_not_computed_again_wherever_it_lies(tmp_path: Path, sack: Path, cache: ShardCache):
    mill, renamed = Mill(), tmp_path / "renamed"
    grind = cache.reusing(mill)
    shutil.copy(sack, renamed)
    first, second = Grinding(sack, tmp_path / "a"), Grinding(renamed, tmp_path / "b")
    assert grind(first) == {"chars": 3}
    assert grind(second) == {"chars": 3, "reused": True}
    assert mill.ground == ["rye"]
    assert texts(second) == texts(first) == ["flour of rye by Ann", "bran of rye by Ann"]


def test_another_input_or_another_fact_is_another_shard(tmp_path: Path, sack: Path, cache: ShardCache):
    mill = Mill()
    grind = cache.reusing(mill)
    (tmp_path / "wheat").write_text("wheat")
    shards = [
        Grinding(sack, tmp_path / "a"),
        Grinding(sack, tmp_path / "b", "Bob"),
        Grinding(tmp_path / "wheat", tmp_path / "c"),
    ]
    for shard in shards:
        grind(shard)
    assert mill.ground == ["rye", "rye", "wheat"]
    assert texts(shards[1])[0] == "flour of rye by Bob"


@pytest.mark.parametrize("damage", ["flip a byte", "truncate", "garble entry", "delete entry", "delete file"])
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path: Path, sack: Path, cache: ShardCache, damage: str):
    mill = Mill()
    grind = cache.reusing(mill)
    grind(Grinding(sack, tmp_path / "a"))
    (entry,) = cache.folder.iterdir()
    match damage:
        case "flip a byte":
            (entry / "1").write_text("Bran of rye by Ann")
        case "truncate":
            os.truncate(entry / "0", 0)
        case "garble entry":
            (entry / "entry.json").write_text('{"sha256": [')
        case "delete entry":
            (entry / "entry.json").unlink()
        case "delete file":
            (entry / "0").unlink()
    second, third = Grinding(sack, tmp_path / "b"), Grinding(sack, tmp_path / "c")
    assert "reused" not in grind(second)
    assert grind(third)["reused"]
    assert texts(second) == texts(third) == ["flour of rye by Ann", "bran of rye by Ann"]
    assert [path.name for path in cache.folder.iterdir()] == [entry.name]


def test_a_worker_that_dies_while_it_keeps_a_shard_leaves_nothing_to_be_believed(
    tmp_path: Path, sack: Path, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
):
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shard_cache, "_replace", die)
        with pytest.raises(KeyboardInterrupt):
            cache.reusing(Mill())(Grinding(sack, tmp_path / "a"))
    again = Mill()
    cache.reusing(again)(Grinding(sack, tmp_path / "b"))
    assert again.ground == ["rye"]
    (left_over,) = cache.folder.glob("*.tmp")
    assert left_over not in list(unused_entries(tmp_path, set())), "somebody may be writing it"
    os.utime(left_over, (0, 0))
    assert left_over in list(unused_entries(tmp_path, set()))


def test_refresh_computes_all_and_replaces_what_was_kept(tmp_path: Path, sack: Path, cache: ShardCache):
    cache.reusing(Mill())(Grinding(sack, tmp_path / "a"))
    mill = Mill()
    assert "reused" not in ShardCache(cache.folder, fresh=True).reusing(mill)(Grinding(sack, tmp_path / "b"))
    assert mill.ground == ["rye"]
    assert cache.reusing(Mill())(Grinding(sack, tmp_path / "c"))["reused"]


def test_an_input_that_is_not_what_its_record_says_is_refused_and_nothing_of_it_is_kept(
    tmp_path: Path, sack: Path, cache: ShardCache
):
    shard = Grinding(sack, tmp_path / "a", recorded="0" * 64)
    with pytest.raises(ValueError, match="changed or damaged after it was published"):
        cache.reusing(Mill())(shard)
    assert not cache.folder.exists()


def test_a_file_system_without_hard_links_gets_copies(
    tmp_path: Path, sack: Path, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(shard_cache.os, "link", refuse)
    first, second = Grinding(sack, tmp_path / "a"), Grinding(sack, tmp_path / "b")
    cache.reusing(Mill())(first)
    assert cache.reusing(Mill())(second)["reused"]
    assert texts(second) == texts(first)
    assert second.files[0].stat().st_nlink == 1


@pytest.mark.parametrize("links", [True, False])
def test_gc_deletes_the_shards_of_no_artifact_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], links: bool
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "store"))
    if not links:
        monkeypatch.setattr(shard_cache.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError))
    store = ArtifactStore(tmp_path / "store")
    cache = ShardCache(store.root / FOLDER / "grind-0123")
    sacks = [tmp_path / name for name in ("rye", "wheat")]
    recipe = Recipe(kind="documents", stage="grind", version=1, config={}, inputs={})
    with store.building(recipe.address) as draft:
        for sack in sacks:
            sack.write_text(sack.name)
        map_shards(
            cache.reusing(Mill()),
            [(sack.name, Grinding(sack, draft / sack.name)) for sack in sacks],
            draft,
            workers=1,
            label="grind",
        )
        if links:
            assert artifacts_command.gc(yes=True) == 0
            assert len(list(cache.folder.iterdir())) == 2, "the draft holds them"
        shutil.rmtree(draft / "wheat")
        store.publish(draft, recipe, Report(rows_in=2, rows_out=2), label="grind", run="test", seconds=1.0)
    capsys.readouterr()
    assert artifacts_command.gc() == 0
    assert "would delete 1 shards of grind-0123 that no artifact holds" in capsys.readouterr().out
    assert len(list(cache.folder.iterdir())) == 2
    artifacts_command.gc(yes=True)
    (left,) = cache.folder.iterdir()
    assert (left / "0").read_text() == "flour of rye by Ann"
    assert store.verify(recipe.address) == []
    artifacts_command.gc(yes=True)
    assert left.exists()


def test_what_decides_a_result_decides_the_fingerprint(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    recipe = Recipe(
        kind="documents",
        stage="extract",
        version=1,
        config={"extract": {"mode": "fast"}},
        inputs={"warcs": "warcs/x-1"},
    )
    folder = extract._cache(store, recipe, fresh=False).folder
    assert folder.parent == tmp_path / FOLDER
    assert folder.name.startswith("extract-")

    def other(**changes: Any) -> Path:
        return extract._cache(store, recipe.model_copy(update=changes), fresh=False).folder

    assert other(inputs={"warcs": "warcs/y-2"}) == folder, "the input counts shard by shard"
    assert other(version=2) != folder
    assert other(config={"extract": {"mode": "precise"}}) != folder
    assert fingerprint(code={"a": "1"}) != fingerprint(code={"a": "2"})
    reachable_otherwise = signals._cache(store, recipe, fresh=False).folder
    assert reachable_otherwise.name.partition("-")[2] != folder.name.partition("-")[2], "other code is reached"
