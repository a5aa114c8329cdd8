import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.crawl.records import Page, read_responses
from gristmill.crawl.rows_source import write_warcs
from gristmill.crawl.text_sources_config import JsonlSource, ParquetSource


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "home"))


def pages(folder) -> list[Page]:
    files = sorted(folder.glob("texts-*.warc.gz"))
    events = [event for path in files for event in read_responses(path, max_body_bytes=1 << 20)]
    return [event for event in events if isinstance(event, Page)]


def jsonl(path, *rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def test_fields_are_found_by_name_and_inside_others(tmp_path):
    row = {"body": "hello", "meta": {"url": "http://a.org/", "at": "2024-05-01", "rights": "MIT"}}
    source = JsonlSource(
        name="s",
        paths=[jsonl(tmp_path / "a.jsonl", row)],
        text_field="body",
        url_field="meta.url",
        date_field="meta.at",
        license_field="meta.rights",
    )
    write_warcs(source, tmp_path / "out")
    (page,) = pages(tmp_path / "out")
    assert (page.body, page.url, page.date, page.license) == (b"hello", "http://a.org/", "2024-05-01T00:00:00Z", "MIT")


def test_without_a_url_the_line_or_the_id_is_the_address(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "one", "id": 7}, {"text": "two"})
    write_warcs(JsonlSource(name="s", paths=[path]), tmp_path / "numbers")
    report = write_warcs(JsonlSource(name="s", paths=[path], id_field="id"), tmp_path / "ids")
    assert [page.url for page in pages(tmp_path / "numbers")] == ["file:///s/a.jsonl#1", "file:///s/a.jsonl#2"]
    assert [page.url for page in pages(tmp_path / "ids")] == ["file:///s/a.jsonl#7", "file:///s/a.jsonl#2"]
    assert report.details["made_up"] == {"id": 1}


def test_bad_lines_are_counted_by_reason_and_cost_only_themselves(tmp_path):
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut',
        b"[1]",
        b'{"other": "x"}',
        b'{"text": null}',
        b'{"text": 5}',
        b'{"text": "  "}',
        b"",
        b'{"text": "\xff"}',
        b'{"text": "' + b"x" * 3_000 + b'"}',
        b"[" * 2_000,
        b'{"text": ' + b"9" * 1_000 + b"}",
        b'{"text": "also good"}\r',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    report = write_warcs(JsonlSource(name="s", paths=[str(tmp_path / "a.jsonl")], max_line_mb=0.0025), tmp_path / "out")
    assert [page.body for page in pages(tmp_path / "out")] == [b"good", b"also good"]
    assert report.dropped == {
        "empty": 1,
        "line_too_long": 1,
        "no_json": 3,
        "no_object": 1,
        "no_text": 2,
        "text_is_int": 2,
    }
    assert report.details["first_dropped"]["no_json"] == "a.jsonl:2"
    assert (report.rows_in, report.rows_out) == (12, 2)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", lambda content: bz2.compress(content, compresslevel=1)),
        (".xz", lzma.compress),
        (".zst", zstd),
    ],
)
def test_compressed_files_are_read_and_one_that_breaks_off_gives_what_came_before(tmp_path, suffix, compress):
    # incompressible, so that half of the file holds whole lines
    rows = [{"text": f"{i} {hash((i, 1)) % 10**18} {hash((i, 2)) % 10**18}"} for i in range(6_000)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / f"a.jsonl{suffix}"
    source = JsonlSource(name="s", paths=[str(path)])
    path.write_bytes(compress(content))
    assert write_warcs(source, tmp_path / "whole").rows_out == 6_000
    path.write_bytes(compress(content)[: len(compress(content)) * 3 // 4])
    report = write_warcs(source, tmp_path / "half")
    assert 0 < report.rows_out < 6_000
    assert report.dropped["broken_file"] == 1


def test_a_file_without_a_usable_row_is_an_error_that_names_its_fields(tmp_path):
    source = JsonlSource(name="s", paths=[jsonl(tmp_path / "a.jsonl", {"body": "x", "id": 1})])
    with pytest.raises(
        ValueError,
        match=r"a\.jsonl of source 's' has no row with a text in 'text' \(1 no_text\); its first row has body, id",
    ):
        write_warcs(source, tmp_path / "out")


def test_parquet_rows_are_read_with_their_columns_types(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "content": ["one", None, "three"],
            "at": pa.array([0, 86_400, 2 * 86_400], pa.timestamp("s")),
            "meta": [{"url": "http://a.org/1"}, {"url": None}, {"url": None}],
            "unused": [b"\xff", b"\xff", b"\xff"],
        }
    )
    pq.write_table(table, path, row_group_size=1)
    source = ParquetSource(name="s", paths=[str(path)], text_field="content", url_field="meta.url", date_field="at")
    report = write_warcs(source, tmp_path / "out")
    first, third = pages(tmp_path / "out")
    assert (first.body, first.url, first.date) == (b"one", "http://a.org/1", "")
    assert (third.body, third.url, third.date) == (b"three", "file:///s/a.parquet#3", "1970-01-03T00:00:00Z")
    assert report.dropped == {"no_text": 1}
    assert report.details["made_up"] == {"url": 1}


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    pq.write_table(pa.table({"content": ["a"], "id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="has no column 'text', but content, id"):
        write_warcs(ParquetSource(name="s", paths=[str(tmp_path / "a.parquet")]), tmp_path / "out")


def test_a_damaged_parquet_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"a\.parquet of source 's' has no row.*1 broken_file"):
        write_warcs(ParquetSource(name="s", paths=[str(tmp_path / "a.parquet")]), tmp_path / "out")


def test_identity_follows_contents_and_settings_but_neither_place_nor_weight(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "a"})
    identity = JsonlSource(name="s", paths=[path]).identity()
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "a.jsonl").rename(tmp_path / "moved/a.jsonl")
    assert JsonlSource(name="s", paths=[str(tmp_path / "moved/*.jsonl")], weight=3).identity() == identity
    assert JsonlSource(name="s", paths=[str(moved)], text_field="x").identity() != identity
    jsonl(moved, {"text": "b"})
    assert JsonlSource(name="s", paths=[str(moved)]).identity() != identity


def test_ingest_lists_the_files_and_reports_each_loss(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "a"}, {"no": 1})
    config = IngestConfig.model_validate(
        {"sources": [{"kind": "jsonl", "name": "s", "paths": [path], "license": "MIT"}]}
    )
    report = run_ingest(tmp_path / "out", config)
    assert report.dropped == {"no_text": 1}
    assert report.details["sources"]["s"]["documents"] == 1
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "manifest.jsonl",
        "texts-00000.warc.gz",
    ]


def test_remote_files_are_fetched_and_leave_nothing_behind(tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe("/rows/a.jsonl.gz", gzip.compress(b'{"text": "far"}\n'))
    write_warcs(JsonlSource(name="s", paths=["memory://rows/*.jsonl.gz"]), tmp_path / "out")
    assert [page.body for page in pages(tmp_path / "out")] == [b"far"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["texts-00000.warc.gz"]
