import gzip
import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.crawl.framing import MAX_VAIN_LOOKS, Record, read_records
from gristmill.crawl.members import Damage, holds_warc


def warc_record(number: int, body: bytes = b"", *, kind: bytes = b"conversion", length: int | None = None) -> bytes:
    body = body or b"page %d\n" % number * 20
    head = b"WARC/1.0\r\nWARC-Type: %b\r\nWARC-Target-URI: http://a.org/%d\r\nContent-Type: text/plain\r\n" % (
        kind,
        number,
    )
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body + b"\r\n\r\n"


def arc_record(url: str, content: bytes, *, length: int | str | None = None) -> bytes:
    size = len(content) if length is None else length
    return f"{url} 10.0.0.1 20140216050221 text/html {size}\n".encode() + content + b"\n"


def read(content: bytes, *, limit: int = 100_000) -> tuple[list[Record], list[Damage]]:
    events = list(read_records(io.BytesIO(content), max_content_bytes=limit))
    return [e for e in events if isinstance(e, Record)], [e for e in events if isinstance(e, Damage)]


MEMBERS = [gzip.compress(warc_record(number), mtime=0) for number in range(5)]
PLAIN = [warc_record(number) for number in range(5)]
HTTP = b"HTTP/1.1 200 OK\r\n\r\n<p>hi"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_and_cut_bytes_never_raise_and_cost_no_record_of_an_undamaged_member(data):
    number = data.draw(st.integers(0, 4))
    bad = bytearray(MEMBERS[number])
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(bad) - 1), st.integers(0, 255)), max_size=4)
    ):
        bad[position] = value
    cut = data.draw(st.integers(0, len(bad)))
    inserted = data.draw(st.binary(max_size=30))
    damaged = bytes(bad[:cut]) + inserted
    records, damages = read(b"".join([*MEMBERS[:number], damaged, *MEMBERS[number + 1 :]]))
    urls = {record.head.url for record in records}
    assert urls >= {f"http://a.org/{other}" for other in range(5) if other != number}
    if damaged not in (MEMBERS[number], b"") and f"http://a.org/{number}" not in urls:
        assert damages


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=8)), max_size=6), st.booleans(), st.integers(0, 99)
)
def test_any_damage_to_any_file_ends_without_an_exception(edits, compressed, cut_percent):
    content = bytearray(b"".join(MEMBERS if compressed else [*PLAIN, arc_record("http://b.org/", HTTP)]))
    for position, found in edits:
        content[position % len(content) : position % len(content) + len(found)] = found
    read(bytes(content[: len(content) * (100 - cut_percent) // 100]), limit=200)


@given(st.binary(max_size=3_000))
@settings(deadline=None)
def test_any_bytes_end_without_an_exception(content):
    read(content)
    read(b"\x1f\x8b\x08" + content)
    read(gzip.compress(content))


def test_a_record_in_two_gzip_members_is_whole():
    record = warc_record(1)
    at = record.index(b"\r\n\r\n") + 4
    content = gzip.compress(record[:at]) + gzip.compress(record[at : at + 30]) + gzip.compress(record[at + 30 :])
    records, damages = read(MEMBERS[0] + content + MEMBERS[2])
    assert not damages
    assert [record.content for record in records] == [b"page %d\n" % number * 20 for number in range(3)]


@pytest.mark.parametrize("packing", [b"".join, lambda parts: b"".join(map(gzip.compress, parts))])
def test_arc_records_are_read(packing):
    parts = [
        arc_record("filedesc://a.arc.gz", b"1 0 Crawler\nURL IP-address Archive-date Content-type Archive-length\n"),
        arc_record("http://a.org/ü", HTTP),
        arc_record("dns:a.org", b"20140216050221\na.org. 60 IN A 10.0.0.1\n"),
        b"http://b.org/ 10.0.0.1 20140216050221 text/html 200 - - 1234 a.arc.gz %d\n%b\n" % (len(HTTP), HTTP),
    ]
    records, damages = read(packing(parts))
    assert not damages
    assert [record.head.record_type for record in records] == ["warcinfo", "response", "dns", "response"]
    assert (records[1].head.url, records[1].head.date) == ("http://a.org/ü", "2014-02-16T05:02:21Z")
    assert records[3].content == HTTP


@pytest.mark.parametrize("length", ["-1", "abc", 3, 50_000, 2**63])
def test_an_arc_record_with_a_wrong_length_costs_one_record(length):
    parts = [arc_record(f"http://{name}.org/", HTTP * 50, length=length if name == "b" else None) for name in "abc"]
    records, damages = read(b"".join(parts))
    assert [record.head.url for record in records if not record.repaired] == ["http://a.org/", "http://c.org/"]
    assert len(damages) + sum(record.repaired is not None for record in records) == 1


def test_a_page_about_archives_opens_no_record_of_the_other_kind():
    page = b"text\nhttp://a.org/ 10.0.0.1 20140216050221 text/html 5\nhello\n" * 3
    (first, second), damages = read(warc_record(1, page, length=7) + warc_record(2))
    assert not damages
    assert first.content.rstrip() == page.rstrip()
    assert second.head.url == "http://a.org/2"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (warc_record(1), True),
        (arc_record("http://a.org/", HTTP), True),
        (gzip.compress(arc_record("filedesc://a", HTTP)), True),
        (b"damaged opening" + MEMBERS[0], True),
        (b"URL of http://a.org/ 10.0.0.1", False),
        (gzip.compress(b"crawl-data/CC-MAIN/warc.gz\n" * 50), False),
        (b"", False),
    ],
)
def test_a_file_with_one_record_of_either_kind_is_an_archive(content, expected):
    assert holds_warc(io.BytesIO(content)) is expected


def test_a_too_long_record_over_the_limit_does_not_swallow_those_behind_it():
    long = warc_record(1, b"x" * 5_000, length=8_000)
    records, damages = read(long + b"".join(PLAIN) * 5, limit=1_000)
    assert len(records) == 25
    assert [(damage.kind, damage.url) for damage in damages] == [("length", "http://a.org/1")]


@pytest.mark.parametrize(
    "content",
    [
        b"WARC/1.0\r\n" * 50_000,
        b"WARC/1.0\r\nContent-Length: 90000\r\n\r\n" * 10_000,
        b"WARC/1.0\r\nContent-Length: 9000000\r\n\r\n" * 10_000,
        b"http://a.org/ 10.0.0.1 20140216050221 text/html 90000\n" * 8_000,
        b"WARC/1.0\r\nA: " + b"\r" * 400_000,
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03" * 20_000,
    ],
    ids=["heads that do not end", "lengths", "lengths over the limit", "ARC lengths", "CR", "gzip magic"],
)
def test_a_file_of_nothing_but_bad_heads_is_read_in_time_linear_in_its_length(content):
    start = time.process_time()
    read(content)
    # measured .02 to .6 s for half a megabyte; a square of the length takes minutes
    assert time.process_time() - start < 5


def test_looks_far_ahead_are_given_up_when_they_find_nothing():
    bad = b"".join(warc_record(number, length=5_000) for number in range(MAX_VAIN_LOOKS + 5))
    records, damages = read(bad + warc_record(99, b"x" * 50), limit=1_000)
    assert [record.head.url for record in records if not record.repaired] == ["http://a.org/99"]
    assert len(damages) + len(records) == MAX_VAIN_LOOKS + 6


def test_a_head_with_nothing_behind_it_swallows_no_record():
    bare = warc_record(7, length=500).split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    records, damages = read(bare + PLAIN[1] + PLAIN[2])
    assert [record.head.url for record in records] == ["http://a.org/1", "http://a.org/2"]
    assert [(damage.kind, damage.url) for damage in damages] == [("length", "http://a.org/7")]
