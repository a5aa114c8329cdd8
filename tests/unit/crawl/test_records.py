import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pytest

from gristmill.crawl.members import Damage
from gristmill.crawl.records import Ignored, Page, read_responses

MB = 1 << 20


def read(path: Path, content: bytes, *, max_body_bytes: int = MB) -> tuple[list[Page], list[Damage]]:
    path.write_bytes(content)
    events = list(read_responses(path, max_body_bytes=max_body_bytes))
    return [e for e in events if isinstance(e, Page)], [e for e in events if isinstance(e, Damage)]


@pytest.fixture
def warc(tmp_path) -> Path:
    return tmp_path / "a.warc.gz"


@pytest.fixture
def ten(record) -> list[bytes]:
    """Ten records, uncompressed."""
    return [record(f"http://a.org/{i}", f"<p>page {i}".encode() * 50, gzip=False) for i in range(10)]


def compress(records: list[bytes]) -> list[bytes]:
    return [gzip.compress(record) for record in records]


def test_a_page_has_what_was_written(warc, record):
    content = record("http://a.org/ä", b"<p>hi", content_type='text/HTML; charset="KOI8-R"')
    (page,), damages = read(warc, content)
    assert not damages
    assert page == Page(0, "http://a.org/ä", "2024-05-01T00:00:00Z", 200, "text/html", "KOI8-R", b"<p>hi", False)


def test_an_offset_is_where_the_gzip_member_begins(warc, ten):
    members = compress(ten)
    pages, _ = read(warc, b"".join(members))
    assert [page.offset for page in pages] == [sum(map(len, members[:i])) for i in range(10)]


@pytest.mark.parametrize("packing", [b"".join, lambda records: gzip.compress(b"".join(records))])
def test_an_offset_without_a_member_of_its_own_is_the_position_in_the_decoded_stream(warc, ten, packing):
    pages, damages = read(warc, packing(ten))
    assert not damages
    assert [page.offset for page in pages] == [sum(map(len, ten[:i])) for i in range(10)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\r\n"])
def test_line_ends_of_careless_writers_are_read(warc, line_end):
    http = line_end.join([b"HTTP/1.0 200", b"Content-Type: text/html", b"", b"<p>hi"])
    lines = [b"WARC/1.0", b"WARC-Type: response", b"WARC-Target-URI: <http://a.org/>"]
    lines += [b"Content-Length: %d" % len(http), b"", http, b"", b""]
    (page,), damages = read(warc, line_end.join(lines))
    assert not damages
    assert (page.url, page.status, page.body) == ("http://a.org/", 200, b"<p>hi")


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress),
        ({"Content_Encoding": "deflate"}, zlib.compress),
        ({"Content_Encoding": "deflate"}, lambda body: zlib.compress(body, wbits=-15)),
        ({"Content_Encoding": "br"}, brotli.compress),
        ({"Transfer_Encoding": "chunked"}, lambda body: b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
        ({"Content_Encoding": "gzip"}, lambda body: body),
        ({"Content_Encoding": "br", "Transfer_Encoding": "chunked"}, lambda body: body),
    ],
)
def test_encoded_bodies_are_decoded_and_bodies_wrongly_called_encoded_stay(warc, record, headers, encode):
    body = b"<p>some text that repeats itself, " * 100
    (page,), damages = read(warc, record("http://a.org/", encode(body), **headers))
    assert not damages
    assert page.body == body


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress),
        ({"Content_Encoding": "br"}, brotli.compress),
        ({"Transfer_Encoding": "chunked"}, lambda body: b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
    ],
)
def test_an_encoded_body_that_breaks_off_is_damage(warc, record, headers, encode):
    encoded = encode(bytes(range(256)) * 20)
    pages, (damage,) = read(warc, record("http://a.org/", encoded[: len(encoded) // 2], **headers))
    assert not pages
    assert (damage.kind, damage.url) == ("body", "http://a.org/")


@pytest.mark.parametrize("position", [0, 1, 40, -5])
def test_a_bad_member_costs_one_record(warc, ten, position):
    members = compress(ten)
    bad = bytearray(members[4])
    bad[position] ^= 0xFF
    pages, damages = read(warc, b"".join([*members[:4], bytes(bad), *members[5:]]))
    assert len(pages) == 9
    assert [damage.offset for damage in damages] == [sum(map(len, members[:4]))]


def test_garbage_between_members_costs_no_record(warc, ten):
    members = compress(ten)
    pages, damages = read(warc, b"".join([*members[:5], b"\x1f\x8b\x08garbage" * 100, *members[5:]]))
    assert len(pages) == 10
    assert [damage.offset for damage in damages] == [sum(map(len, members[:5]))]


def test_a_truncated_last_member_is_damage(warc, ten):
    content = b"".join(compress(ten))
    pages, (damage,) = read(warc, content[:-60])
    assert len(pages) == 9
    assert damage.kind == "truncated"


@pytest.mark.parametrize("packing", [compress, list, lambda records: [gzip.compress(b"".join(records))]])
@pytest.mark.parametrize("declared", [0, 10, 5_000, 3 * MB, 2**63, 10**19])
def test_a_wrong_content_length_costs_one_record(warc, ten, packing, declared):
    start = ten[4].index(b"Content-Length: ")
    end = ten[4].index(b"\r\n", start)
    ten[4] = ten[4][:start] + b"Content-Length: %d" % declared + ten[4][end:]
    pages, damages = read(warc, b"".join(packing(ten)))
    assert [page.url[-1] for page in pages] == list("012356789")
    assert [damage.kind for damage in damages] == ["length"]


def test_a_record_without_http_is_damage(warc, ten):
    ten[4] = ten[4].replace(b"HTTP/1.1 200", b"XTTP/1.1 200")
    pages, (damage,) = read(warc, b"".join(ten))
    assert len(pages) == 9
    assert damage.kind == "http"


def test_a_response_without_a_url_is_damage(warc, ten):
    ten[4] = ten[4].replace(b"WARC-Target-URI", b"WARC-Target-XXX")
    pages, (damage,) = read(warc, b"".join(ten))
    assert len(pages) == 9
    assert damage.kind == "header"


def test_other_records_with_content_are_named(warc, ten):
    ten[4] = ten[4].replace(b"WARC-Type: response", b"WARC-Type: resource")
    ten[5] = ten[5].replace(b"WARC-Type: response", b"WARC-Type: metadata")
    warc.write_bytes(b"".join(ten))
    events = list(read_responses(warc, max_body_bytes=MB))
    assert len(events) == 9
    assert [event.record_type for event in events if isinstance(event, Ignored)] == ["resource"]


def test_a_body_over_the_limit_is_cut_and_said_to_be(warc, record):
    pages, damages = read(warc, record("http://a.org/", b"x" * 3 * MB) + record("http://b.org/", b"<p>b"))
    assert not damages
    assert [(len(page.body), page.cut) for page in pages] == [(MB, True), (4, False)]


def test_a_bomb_stays_within_bounded_memory(warc):
    length = 400 * MB
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    header = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Length: %d\r\n\r\n" % (
        length + len(http)
    )
    with gzip.GzipFile(warc, "wb", compresslevel=1) as file:
        file.write(header + http)
        for _ in range(length // MB):
            file.write(bytes(MB))
    program = (
        "import pathlib, resource, sys\n"
        "from gristmill.crawl.records import read_responses\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "(page,) = read_responses(pathlib.Path(sys.argv[1]), max_body_bytes=8_000_000)\n"
        "assert page.cut\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(warc)], capture_output=True, text=True, check=True)
    grown_kib = int(done.stdout)
    assert grown_kib < 100 * 1024


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pages", "damages"),
    [
        ("malformed/bad.arc", 0, 1),
        ("malformed/dupes.warc.gz", 3, 0),
        ("malformed/example-bad-non-chunked.warc.gz", 1, 0),
        ("malformed/example-trunc.warc", 0, 1),
        ("malformed/example-wget-1-14.warc.gz", 1, 0),
        ("malformed/missing-status-text.warc", 1, 0),
        ("genuine/cc-main-2020-34-16pages.warc.gz", 16, 0),
        ("genuine/dolma-wget-sample-0000.warc.gz", 22, 0),
        ("genuine/iana-liveweb-revisits.warc.gz", 48, 0),
        ("genuine/whirlwind.warc.gz", 1, 0),
    ],
)
def test_real_archives_give_their_pages(shared_data, name, pages, damages):
    events = list(read_responses(shared_data / "web" / name, max_body_bytes=8 * MB))
    assert sum(isinstance(event, Page) for event in events) == pages
    assert sum(isinstance(event, Damage) for event in events) == damages


@pytest.mark.data
def test_bodies_are_those_warcio_reads(shared_data):
    from warcio.archiveiterator import ArchiveIterator

    path = shared_data / "web/genuine/cc-main-2020-34-16pages.warc.gz"
    with path.open("rb") as file:
        expected = [
            (record.rec_headers.get_header("WARC-Target-URI"), record.content_stream().read())
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        ]
    found = [(p.url, p.body) for p in read_responses(path, max_body_bytes=8 * MB) if isinstance(p, Page)]
    assert found == expected
