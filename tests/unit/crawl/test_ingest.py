import gzip
import json
import re

import fsspec
import pytest
from pydantic import ValidationError

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.crawl.manifest import read_manifest
from gristmill.schema import SourceUnavailable


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))


@pytest.fixture
def crawl(tmp_path, record):
    """A folder with two WARC files."""
    folder = tmp_path / "crawl"
    (folder / "day2").mkdir(parents=True)
    (folder / "a.warc.gz").write_bytes(record("http://a.org/", b"<p>a"))
    (folder / "day2" / "b.warc").write_bytes(record("http://b.org/", b"<p>b", gzip=False))
    return folder


def warc_source(*paths, name="web", **fields) -> IngestConfig:
    source = {"kind": "warc", "name": name, "paths": [str(path) for path in paths], **fields}
    return IngestConfig.model_validate({"sources": [source]})


def test_files_are_copied_below_their_source_and_listed(tmp_path, crawl):
    report = run_ingest(tmp_path / "out", warc_source(crawl / "**/*.warc*", license="CC0-1.0"))
    entries = read_manifest(tmp_path / "out")
    assert [entry.file for entry in entries] == ["web/a.warc.gz", "web/day2/b.warc"]
    assert {entry.license for entry in entries} == {"CC0-1.0"}
    assert (tmp_path / "out" / entries[0].file).read_bytes() == (crawl / "a.warc.gz").read_bytes()
    assert report.rows_out == 2


def test_identity_is_the_same_from_another_place_by_another_spelling_and_with_another_weight(tmp_path, crawl):
    moved = tmp_path / "elsewhere" / "deeper"
    first = warc_source(crawl / "**/*.warc*").identity()
    moved.parent.mkdir()
    crawl.rename(moved)
    assert warc_source(moved / "day2/b.warc", moved / "a.warc.gz", moved / "*.gz", weight=3).identity() == first


def test_identity_changes_with_a_byte_of_content(crawl):
    before = warc_source(crawl / "a.warc.gz").identity()
    content = (crawl / "a.warc.gz").read_bytes()
    (crawl / "a.warc.gz").write_bytes(content[:-1] + b"x")
    assert warc_source(crawl / "a.warc.gz").identity() != before


def test_remote_files_are_fetched_whole(tmp_path, crawl):
    memory = fsspec.filesystem("memory")
    memory.pipe("/crawl/a.warc.gz", (crawl / "a.warc.gz").read_bytes())
    run_ingest(tmp_path / "out", warc_source("memory://crawl/*.warc.gz"))
    assert (tmp_path / "out/web/a.warc.gz").read_bytes() == (crawl / "a.warc.gz").read_bytes()


def test_a_remote_place_that_does_not_answer_is_unavailable(monkeypatch, waits):
    def refuse(*_args, **_options):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "info", refuse)
    with pytest.raises(SourceUnavailable, match=r"source not reachable: memory://crawl/a\.warc\.gz failed 3 times"):
        warc_source("memory://crawl/a.warc.gz").identity()
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "glob", refuse)
    with pytest.raises(SourceUnavailable, match=r"memory://crawl/\*\.warc\.gz does not answer"):
        warc_source("memory://crawl/*.warc.gz").identity()


def test_files_of_a_web_server_are_named_by_their_etag_and_fetched_whole(tmp_path, crawl, server, waits):
    content = (crawl / "a.warc.gz").read_bytes()
    server.files |= {"x/a.warc.gz": content, "x/b.warc.gz": content + content}
    config = warc_source(f"{server.url}/x/a.warc.gz", f"{server.url}/x/b.warc.gz")
    before = config.identity()
    assert [file["size"] for file in before["sources"][0]["files"]] == [len(content), 2 * len(content)]
    for path in server.files:
        server.faults[path] = ["503", "dropped", "short"]
    run_ingest(tmp_path / "out", config)
    assert (tmp_path / "out/web/b.warc.gz").read_bytes() == content + content
    server.files["x/a.warc.gz"] = content[:-1] + b"x"
    assert config.identity() != before


def test_a_file_that_a_web_server_does_not_have_is_named(server, waits):
    with pytest.raises(SourceUnavailable, match=r"/none.warc.gz answers 404 Not Found"):
        warc_source(f"{server.url}/none.warc.gz").identity()


def test_an_ingest_that_was_killed_does_not_copy_again_what_is_whole(tmp_path, crawl):
    out = tmp_path / "out"
    run_ingest(out, warc_source(crawl / "**/*.warc*"))
    (out / "web/a.warc.gz").touch()
    before = (out / "web/a.warc.gz").stat().st_mtime_ns
    (out / "web/day2/b.warc").rename(out / "web/day2/b.warc.part")
    run_ingest(out, warc_source(crawl / "**/*.warc*"))
    assert (out / "web/a.warc.gz").stat().st_mtime_ns == before
    assert sorted(path.name for path in (out / "web").rglob("*.warc*")) == ["a.warc.gz", "b.warc"]


@pytest.mark.parametrize(("pattern", "fault"), [("missing.warc.gz", "does not exist"), ("*.none", "matches no file")])
def test_a_path_without_a_file_is_named(tmp_path, pattern, fault):
    config = warc_source(tmp_path / pattern)
    for ask in (config.identity, lambda: run_ingest(tmp_path / "out", config)):
        with pytest.raises(ValueError, match=f"{re.escape(pattern)} of source 'web' {fault}; correct its `paths`"):
            ask()


def test_a_folder_is_refused_with_the_glob_to_write(crawl):
    with pytest.raises(ValueError, match=r"is a folder; name its files: .*crawl/\*\.warc\.gz"):
        warc_source(crawl).identity()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"just text"), "is no WARC file.*b'just text'"),
        (b"filedesc://old.arc 0.0.0.0", "is no WARC file.*b'filedesc"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_no_warc_is_refused(tmp_path, content, message):
    path = tmp_path / "x.warc.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run_ingest(tmp_path / "out", warc_source(path))


def test_a_truncated_file_is_taken(tmp_path, crawl):
    whole = (crawl / "a.warc.gz").read_bytes()
    (crawl / "a.warc.gz").write_bytes(whole[: len(whole) // 2])
    assert run_ingest(tmp_path / "out", warc_source(crawl / "a.warc.gz")).rows_out == 1


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "a b", ""])
def test_a_source_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ValidationError, match="cannot name a folder"):
        warc_source("x.warc", name=name)


def test_two_sources_of_one_name_are_refused():
    source = {"kind": "warc", "name": "web", "paths": ["x.warc"]}
    with pytest.raises(ValidationError, match="2 sources are called 'web'"):
        IngestConfig.model_validate({"sources": [source, source]})


def test_a_digest_is_remembered_until_the_file_changes(tmp_path, crawl):
    first = warc_source(crawl / "a.warc.gz").identity()
    memory = tmp_path / "home/cache/sha256.json"
    known = json.loads(memory.read_text())
    assert list(known.values()) == [first["sources"][0]["files"][0]["sha256"]]
    memory.write_text("broken")
    assert warc_source(crawl / "a.warc.gz").identity() == first
