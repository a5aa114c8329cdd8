"""The store: an artifact exists if and only if it is whole."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from flows.cli import artifacts
from gristmill import record as record_module
from gristmill.report import Report
from gristmill.store import ArtifactStore, BrokenArtifact, Recipe, Record

REPORT = Report(rows_in=1, rows_out=1)


def recipe(**config: object) -> Recipe:
    return Recipe(kind="documents", stage="dedup", version=1, config=dict(config), inputs={})


def publish(store: ArtifactStore, made: Recipe, content: str = "grist") -> Record:
    with store.building(made.address) as draft:
        (draft / "data.txt").write_text(content)
        return store.publish(draft, made, REPORT, label="dedup", run="test", seconds=1.0)


def test_an_address_depends_on_what_decides_the_bytes_and_on_nothing_else():
    assert recipe(a=1, b=2).address == recipe(b=2, a=1).address
    assert recipe(a=1).address != recipe(a=2).address
    assert recipe().address != recipe().model_copy(update={"version": 2}).address
    assert recipe().address != recipe().model_copy(update={"inputs": {"documents": "documents/x-1"}}).address


def test_a_published_artifact_is_found_with_its_files(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    record = publish(store, recipe())
    assert store.find(record.address) == record
    assert {entry.path for entry in record.files} == {"data.txt", "report.json"}
    assert store.verify(record.address) == []


def test_a_draft_that_was_never_published_is_not_served_and_is_emptied_by_the_next_builder(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building(recipe().address) as draft:
        (draft / "half.txt").write_text("half")
    assert store.find(recipe().address) is None
    with store.building(recipe().address) as draft:
        assert not (draft / "half.txt").exists()


def test_a_draft_is_continued_by_whom_it_was_begun_for_only(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building(recipe().address, resume="this code") as draft:
        (draft / "shard").write_text("half of the pages")
    with store.building(recipe().address, resume="this code") as draft:
        assert (draft / "shard").read_text() == "half of the pages"
    with store.building(recipe().address, resume="changed code") as draft:
        assert not (draft / "shard").exists()
        (draft / "shard").write_text("begun again")
    with store.building(recipe().address) as draft:
        assert not (draft / "shard").exists()


def test_a_draft_that_nothing_was_written_to_leaves_no_trace(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building(recipe().address, resume="this code") as draft:
        pass
    assert not draft.exists()


@pytest.mark.parametrize("damage", ["delete file", "truncate file", "delete record", "garble record"])
def test_a_damaged_artifact_is_not_a_hit(tmp_path: Path, damage: str):
    store = ArtifactStore(tmp_path)
    folder = store.path(publish(store, recipe()).address)
    match damage:
        case "delete file":
            (folder / "data.txt").unlink()
        case "truncate file":
            os.truncate(folder / "data.txt", 2)
        case "delete record":
            (folder / "record.json").unlink()
        case "garble record":
            (folder / "record.json").write_text("{")
    assert store.find(recipe().address) is None
    publish(store, recipe())
    assert store.find(recipe().address) is not None


def test_verify_finds_a_changed_byte_that_the_size_does_not_show(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    record = publish(store, recipe())
    path = store.path(record.address) / "data.txt"
    before = path.stat()
    path.write_text("grisT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on a failing disk: nobody wrote
    assert store.find(record.address) is not None
    (fault,) = store.verify(record.address)
    assert "data.txt" in fault


def test_a_changed_byte_is_no_hit_though_the_size_is_the_same(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    record = publish(store, recipe())
    (store.path(record.address) / "data.txt").write_text("grisT")
    assert store.find(record.address) is None
    with pytest.raises(BrokenArtifact, match=r"data\.txt was changed after it was published"):
        store.load(record.address)
    publish(store, recipe())
    assert store.find(record.address) is not None


def test_a_file_that_was_only_touched_is_read_once_and_is_a_hit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ArtifactStore(tmp_path)
    record = publish(store, recipe())
    (store.path(record.address) / "data.txt").touch()
    assert store.find(record.address) == record
    monkeypatch.setattr(record_module, "read_sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert store.find(record.address) == record


def test_a_record_of_another_format_is_refused_by_name(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    record = publish(store, recipe())
    path = store.path(record.address) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RuntimeError, match="format 99"):
        store.load(record.address)


@pytest.mark.parametrize(
    "name", ["../x-1", "documents/../../etc-1", "/etc/passwd-1", "documents/a%2e-1", "documents", "a/b", ""]
)
def test_a_name_that_is_no_address_never_becomes_a_path(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="no artifact address"):
        ArtifactStore(tmp_path).path(name)


def _build_once(root: Path, built: Path) -> None:
    store = ArtifactStore(root)
    with store.building(recipe().address) as draft:
        if store.find(recipe().address):
            return
        (built / str(os.getpid())).touch()
        (draft / "data.txt").write_text("grist")
        store.publish(draft, recipe(), REPORT, label="dedup", run="test", seconds=1.0)


def test_two_builders_of_one_key_build_it_once(tmp_path: Path):
    built = tmp_path / "built"
    built.mkdir()
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=_build_once, args=(tmp_path / "store", built)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(list(built.iterdir())) == 1


def test_lineage_goes_back_to_the_source_and_says_what_is_gone(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    source = Recipe(kind="warcs", stage="ingest", version=1, config={}, inputs={})
    child = Recipe(
        kind="documents", stage="extract", version=1, config={}, inputs={"warcs": source.address, "over": None}
    )
    publish(store, source)
    publish(store, child)
    assert [(depth, shown) for depth, shown, _ in store.lineage(child.address)] == [
        (0, child.address),
        (1, f"warcs: {source.address}"),
    ]
    (store.path(source.address) / "data.txt").unlink()
    assert [record is None for _, _, record in store.lineage(child.address)] == [False, True]


def test_verifying_all_artifacts_names_the_broken_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    store = ArtifactStore(tmp_path)
    whole, truncated, changed = (publish(store, recipe(n=n)) for n in range(3))
    os.truncate(store.path(truncated.address) / "data.txt", 2)
    (store.path(changed.address) / "data.txt").write_text("grisT")
    assert artifacts.verify() == 1
    said = capsys.readouterr().out
    assert truncated.address in said
    assert changed.address in said
    assert whole.address not in said
