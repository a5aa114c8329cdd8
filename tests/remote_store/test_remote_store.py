"""The artifact store on S3, seen by machines with disks of their own."""

import json
import os
from pathlib import Path

import pytest
from machines import RECIPE, REPORT, SECRET, Machine, build, publish, sha256_of
from s3_endpoint import S3Endpoint

from gristmill import record as record_module
from gristmill.objects import StoreUnavailable, file_object
from gristmill.store import ArtifactStore, BrokenArtifact, Recipe


def texts(store: ArtifactStore) -> list[str]:
    return [(store.path(RECIPE.address) / name).read_text() for name in ("a.txt", "deep/b.txt")]


def test_an_artifact_of_one_machine_is_whole_on_another(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    record = publish(mill)
    assert shop.find(RECIPE.address) == record
    assert shop.records() == [record]
    assert shop.verify(RECIPE.address) == []
    assert texts(shop) == ["grist a.txt", "grist deep/b.txt"]
    assert shop.report(RECIPE.address) == REPORT
    folders = [store.place(RECIPE.address) for store in (mill, shop)]
    assert len({(folder / "record.json").read_bytes() for folder in folders}) == 1
    assert not list((mill.root / ".drafts").iterdir())


def test_records_are_what_a_local_store_has(machine: Machine, tmp_path: Path):
    local = ArtifactStore(tmp_path / "local")
    here, there = publish(local), publish(machine("mill"))
    own = {"created"}
    assert here.model_dump(exclude=own) == there.model_dump(exclude=own)
    keys = [json.loads((store.place(RECIPE.address) / "record.json").read_text()) for store in (local, machine("mill"))]
    assert list(keys[0]) == list(keys[1])


def test_to_know_an_artifact_and_its_report_no_file_of_it_is_downloaded(machine: Machine, s3: S3Endpoint):
    record, shop = publish(machine("mill")), machine("shop")
    s3.requests.clear()
    assert shop.find(RECIPE.address)
    assert shop.report(RECIPE.address)
    read = [name.partition("/")[2] for name in s3.asked("GET")]
    assert set(read) == {f"{RECIPE.address}/record.json", file_object(sha256_of(record, "report.json"))}


def test_a_file_is_downloaded_once_and_alone_when_only_it_is_read(machine: Machine, s3: S3Endpoint):
    record, shop = publish(machine("mill")), machine("shop")
    assert shop.file(RECIPE.address, "a.txt").read_text() == "grist a.txt"
    assert not shop.file(RECIPE.address, "of another kind").exists()
    assert not shop.file("documents/dedup-000000000000", "a.txt").exists()
    assert not (shop.place(RECIPE.address) / "deep").exists()
    texts(shop)
    texts(machine("shop"))
    assert len([name for name in s3.asked("GET") if sha256_of(record) in name]) == 1


@pytest.mark.parametrize("damage", ["delete file", "truncate file", "delete record", "garble record"])
def test_a_damaged_artifact_is_not_a_hit_and_is_built_again(machine: Machine, damage: str):
    mill = machine("mill")
    name = file_object(sha256_of(publish(mill)))
    match damage:
        case "delete file":
            mill.objects.delete([name])
        case "truncate file":
            mill.objects.write(name, b"gr")
        case "delete record":
            mill.objects.delete([f"{RECIPE.address}/record.json"])
        case "garble record":
            mill.objects.write(f"{RECIPE.address}/record.json", b"{")
    assert mill.find(RECIPE.address) is None
    assert mill.records() == []
    assert mill.verify(RECIPE.address) != []
    publish(mill)
    assert machine("shop").verify(RECIPE.address) == []
    assert texts(machine("shop"))[0] == "grist a.txt"


def test_a_changed_byte_is_found_by_verify_never_served_and_healed_by_a_refresh(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    mill.objects.write(file_object(sha256_of(publish(mill))), b"Grist a.txt")
    assert shop.find(RECIPE.address) is not None
    (fault,) = shop.verify(RECIPE.address)
    assert "a.txt" in fault
    with pytest.raises(BrokenArtifact, match="--refresh dedup"):
        shop.path(RECIPE.address)
    publish(mill, run="refresh")
    assert shop.verify(RECIPE.address) == []
    assert texts(shop)[0] == "grist a.txt"


def test_a_copy_that_was_changed_is_brought_again(machine: Machine):
    """The builder's own copy too, which was its draft."""
    mill, shop = machine("mill"), machine("shop")
    publish(mill)
    for store in (mill, shop):
        copy = store.path(RECIPE.address) / "a.txt"
        copy.write_text("Grist a.txt")
        assert texts(store) == ["grist a.txt", "grist deep/b.txt"]


def test_verify_hashes_this_machines_copy_too_and_nothing_is_hashed_twice_to_be_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    publish(machine("mill"))
    shop = machine("shop")
    copy = shop.path(RECIPE.address) / "a.txt"
    monkeypatch.setattr(record_module, "read_sha256", lambda path: pytest.fail(f"{path} was hashed when it arrived"))
    before = copy.stat()
    copy.write_text("Grist a.txt")
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on a failing disk: nobody wrote
    assert texts(shop)[0] == "Grist a.txt"
    (fault,) = shop.verify(RECIPE.address)
    assert f"a.txt is damaged in this machine's copy; delete {copy.parent}" in fault
    assert machine("third").verify(RECIPE.address) == []


def test_a_copy_that_is_read_stays_when_another_machine_refreshes(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    publish(mill, "old")
    with shop.reading([RECIPE.address]):
        publish(mill, "new")
        with pytest.raises(BrokenArtifact, match="replaced by another machine while it is read here"):
            shop.path(RECIPE.address)
        assert (shop.place(RECIPE.address) / "a.txt").read_text() == "old a.txt"
    assert texts(shop) == ["new a.txt", "new deep/b.txt"]


def test_of_two_machines_that_build_one_address_the_first_to_publish_wins(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    with mill.building(RECIPE.address) as first, shop.building(RECIPE.address) as second:
        mine = build(mill, first, "first", "run of mill")
        got = build(shop, second, "second", "run of shop")
        assert not second.exists()
    assert got == mine
    assert texts(shop) == texts(mill) == ["first a.txt", "first deep/b.txt"]


def test_a_draft_gives_way_to_what_another_machine_refreshed_meanwhile(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    publish(mill, "old")
    with shop.building(RECIPE.address) as draft:
        publish(mill, "new", "refreshed by mill")
        assert build(shop, draft, "late", "refreshed by shop").run == "refreshed by mill"
    assert texts(machine("third")) == ["new a.txt", "new deep/b.txt"]


def test_what_is_refreshed_replaces_the_copies_of_other_machines(machine: Machine):
    mill, shop = machine("mill"), machine("shop")
    publish(mill, "old")
    assert texts(shop) == ["old a.txt", "old deep/b.txt"]
    publish(mill, "new")
    assert texts(shop) == ["new a.txt", "new deep/b.txt"]


def test_an_upload_that_fails_is_not_seen_and_goes_on_without_building_again(
    machine: Machine, s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    mill = machine("mill")
    puts = []

    def second_put_fails(number: int, method: str, name: str) -> int | None:
        puts.extend([name] if method == "PUT" else [])
        return 500 if method == "PUT" and len(puts) > 1 else None

    s3.fault = second_put_fails
    with pytest.raises(StoreUnavailable):
        publish(mill)
    s3.fault = lambda number, method, name: None
    (draft,) = mill.drafts()
    assert mill.unsent(draft)
    assert machine("shop").find(RECIPE.address) is None
    with mill.building(RECIPE.address) as draft:
        assert not any(path.is_file() for path in draft.rglob("*.txt"))
        assert mill.find(RECIPE.address)
    assert not mill.drafts()
    assert texts(machine("shop")) == ["grist a.txt", "grist deep/b.txt"]


def test_an_unsent_draft_of_what_another_machine_has_published_is_dropped(machine: Machine, s3: S3Endpoint):
    mill, shop = machine("mill"), machine("shop")
    s3.fault = lambda number, method, name: 403 if method == "PUT" else None
    with pytest.raises(StoreUnavailable):
        publish(mill, "late")
    s3.fault = lambda number, method, name: None
    publish(shop, "first")
    with mill.building(RECIPE.address):
        pass
    assert texts(mill) == ["first a.txt", "first deep/b.txt"]
    assert not mill.drafts()


@pytest.mark.parametrize("path", ["../../../evil.txt", "/etc/evil.txt", "a/../../evil.txt"])
def test_a_record_of_somebody_else_cannot_write_outside_its_copy(machine: Machine, path: str):
    mill, shop = machine("mill"), machine("shop")
    record = json.loads(publish(mill).model_dump_json())
    record["files"][0]["path"] = path
    mill.objects.write(f"{RECIPE.address}/record.json", json.dumps(record).encode())
    with pytest.raises(BrokenArtifact, match="is no record"):
        shop.path(RECIPE.address)
    assert not list(shop.root.rglob("evil.txt"))


def test_credentials_are_in_no_object_and_no_file(machine: Machine, s3: S3Endpoint, tmp_path: Path):
    mill = machine("mill")
    publish(mill)
    stored = [mill.objects.read(name) or b"" for name in mill.objects.listing()]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(stored) == 4
    assert not any(SECRET.encode() in content for content in stored + written)


def test_lineage_is_read_from_records(machine: Machine, s3: S3Endpoint):
    mill = machine("mill")
    inputs: dict[str, str | None] = {"documents": RECIPE.address}
    child = Recipe(kind="documents", stage="mix", version=1, config={}, inputs=inputs)
    publish(mill)
    publish(mill, recipe=child)
    s3.requests.clear()
    tree = [shown for _, shown, record in machine("shop").lineage(child.address) if record]
    assert tree == [child.address, f"documents: {RECIPE.address}"]
    assert all(name.endswith("/record.json") for name in s3.asked("GET"))
