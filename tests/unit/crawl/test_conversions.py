import gzip
import io
from datetime import UTC, date, datetime

import pytest
from warcio.archiveiterator import ArchiveIterator

from gristmill.crawl.conversions import (
    Losses,
    SourceText,
    local_url,
    usable_date,
    usable_license,
    usable_url,
    write_conversions,
)
from gristmill.crawl.records import Page, read_responses


def pages(folder) -> list[Page]:
    files = sorted(folder.glob("texts-*.warc.gz"))
    events = [event for path in files for event in read_responses(path, max_body_bytes=1 << 20)]
    assert all(isinstance(event, Page) for event in events)
    return [event for event in events if isinstance(event, Page)]


def write(folder, *texts: SourceText, shard_bytes: int = 1 << 20) -> Losses:
    losses = Losses()
    write_conversions(iter(texts), folder, losses, shard_bytes=shard_bytes)
    return losses


def test_a_text_comes_back_with_all_that_was_said_of_it(tmp_path):
    write(tmp_path, SourceText("http://a.org/ü", "Grüße\n\nWARC/1.0\r\n", "2024-05-01T00:00:00Z", "CC0-1.0"))
    (page,) = pages(tmp_path)
    assert page.body.decode() == "Grüße\n\nWARC/1.0\r\n"
    assert (page.url, page.date, page.license) == ("http://a.org/ü", "2024-05-01T00:00:00Z", "CC0-1.0")
    assert (page.record_type, page.status, page.mime, page.charset) == ("conversion", 200, "text/plain", "utf-8")


def test_source_code_says_its_language_and_a_text_without_a_date_has_none(tmp_path):
    write(tmp_path, SourceText("file:///s/a.cpp", "int x;", code_language="c++"))
    (page,) = pages(tmp_path)
    assert (page.mime, page.code_language, page.date, page.license) == ("text/x-source", "c++", "", None)


def test_warcio_reads_the_same_records_with_the_lengths_they_declare(tmp_path):
    write(tmp_path, *(SourceText(f"http://a.org/{i}", f"text {i} ä" * i) for i in range(1, 4)))
    with (tmp_path / "texts-00000.warc.gz").open("rb") as file:
        found = [
            (r.rec_type, r.rec_headers.get_header("WARC-Target-URI"), r.raw_stream.read())
            for r in ArchiveIterator(file)
        ]
    assert [kind for kind, *_ in found] == ["warcinfo", "conversion", "conversion", "conversion"]
    assert [(url, text.decode()) for _, url, text in found[1:]] == [
        (f"http://a.org/{i}", f"text {i} ä" * i) for i in range(1, 4)
    ]


def test_the_bytes_depend_on_the_texts_alone(tmp_path):
    texts = [SourceText(f"http://a.org/{i}", f"text {i}") for i in range(3)]
    write(tmp_path / "a", *texts)
    write(tmp_path / "b", *texts)
    assert (tmp_path / "a/texts-00000.warc.gz").read_bytes() == (tmp_path / "b/texts-00000.warc.gz").read_bytes()


def test_ids_of_one_text_under_two_urls_differ(tmp_path):
    write(tmp_path, SourceText("http://a.org/", "same"), SourceText("http://b.org/", "same"))
    content = gzip.decompress((tmp_path / "texts-00000.warc.gz").read_bytes())
    ids = [line for line in content.split(b"\r\n") if line.startswith(b"WARC-Record-ID")]
    assert len(set(ids)) == 3


def test_a_file_takes_no_further_record_once_it_is_large_enough(tmp_path):
    write(tmp_path, *(SourceText(f"http://a.org/{i}", "x" * 900) for i in range(5)), shard_bytes=2_000)
    counts = [
        sum(isinstance(e, Page) for e in read_responses(path, max_body_bytes=1000))
        for path in sorted(tmp_path.iterdir())
    ]
    assert counts == [2, 2, 1]
    assert [page.url[-1] for page in pages(tmp_path)] == list("01234")


def test_white_space_is_no_text_and_counted(tmp_path):
    losses = write(tmp_path, SourceText("http://a.org/", " \n\t"), SourceText("http://b.org/", "b"))
    assert losses.dropped == {"empty": 1}
    assert [page.url for page in pages(tmp_path)] == ["http://b.org/"]


def test_halves_of_a_surrogate_pair_are_joined_or_replaced(tmp_path):
    write(tmp_path, SourceText("http://a.org/", "\ud83d\ude00 \ud83d x"))
    assert pages(tmp_path)[0].body.decode() == "😀 \ufffd x"


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://a.org/b", "http://a.org/b"),
        (" http://a.org/b c ", "http://a.org/b%20c"),
        ("http://a.org/\r\nWARC-Type: response", "http://a.org/%0D%0AWARC-Type:%20response"),
        ("http://a.org/ü", "http://a.org/ü"),
        ("", None),
        (None, None),
        (5, None),
        ("x" * 5_000, None),
    ],
)
def test_a_url_cannot_write_header_fields(value, url):
    assert usable_url(value) == url


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z"),
        ("2024-05-01 10:00:00.123", "2024-05-01T10:00:00Z"),
        (86_400, "1970-01-02T00:00:00Z"),
        (86_400.5, "1970-01-02T00:00:00Z"),
        (datetime(2024, 5, 1, 10, tzinfo=UTC), "2024-05-01T10:00:00Z"),
        (date(987, 5, 1), "0987-05-01T00:00:00Z"),
        ("May 2024", None),
        (None, None),
        (True, None),
        (1e30, None),
        (float("nan"), None),
    ],
)
def test_dates_are_read_in_the_forms_that_sources_have(value, found):
    assert usable_date(value) == found


def test_a_licence_stays_on_its_line():
    assert usable_license(" CC BY\r\nX: y ") == "CC BY X: y"
    assert usable_license(None) is None


def test_a_made_up_address_has_no_host_and_no_odd_bytes():
    assert local_url("books", "a b/ü#.txt", 3) == "file:///books/a%20b/%C3%BC%23.txt#3"


def test_a_written_file_is_a_whole_gzip_file_for_others(tmp_path):
    write(tmp_path, SourceText("http://a.org/", "a"), SourceText("http://b.org/", "b"))
    with gzip.GzipFile(fileobj=io.BytesIO((tmp_path / "texts-00000.warc.gz").read_bytes())) as file:
        assert file.read().count(b"WARC/1.1\r\n") == 3
