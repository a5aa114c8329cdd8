import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pyarrow as pa
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


def plain(kind: str, content: bytes, *, mime: str = "text/plain", length: int | None = None, **fields: str) -> bytes:
    lines = [f"WARC-Type: {kind}", "WARC-Target-URI: http://a.org/", "WARC-Date: 2024-05-01T00:00:00Z"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    lines += [f"Content-Type: {mime}", f"Content-Length: {len(content) if length is None else length}"]
    return "\r\n".join(["WARC/1.0", *lines]).encode() + b"\r\n\r\n" + content + b"\r\n\r\n"


def test_texts_extracted_by_others_are_pages(warc):
    content = plain("conversion", b"a text", Gristmill_License="MIT") + plain("conversion", b"{}", mime="text/json")
    warc.write_bytes(content + plain("conversion", b"int x;", mime="text/x-source; lang=c++; charset=utf-8"))
    prose, other, code = list(read_responses(warc, max_body_bytes=MB))
    assert isinstance(prose, Page)
    assert isinstance(code, Page)
    assert (prose.body, prose.mime, prose.license, prose.status) == (b"a text", "text/plain", "MIT", 200)
    assert (code.mime, code.code_language, code.charset) == ("text/x-source", "c++", "utf-8")
    assert isinstance(other, Ignored)


def test_a_page_stored_without_http_is_a_page_and_a_log_is_none(warc):
    warc.write_bytes(plain("resource", b"<p>hi", mime="text/html") + plain("resource", b"log", mime="text/plain"))
    page, log = read_responses(warc, max_body_bytes=MB)
    assert isinstance(page, Page)
    assert (page.record_type, page.mime, page.body) == ("resource", "text/html", b"<p>hi")
    assert log == Ignored(len(plain("resource", b"<p>hi", mime="text/html")), "resource")


def test_headers_of_reservations_are_kept_with_all_their_values(warc, record):
    content = record("http://a.org/", b"<p>", X_Robots_Tag="noai", Tdm_Reservation="1", Server="x")
    (page,), _ = read(warc, content)
    assert page.headers == {"x-robots-tag": ["noai"], "tdm-reservation": ["1"]}
    twice = b"HTTP/1.1 200 OK\r\nX-Robots-Tag: noai\r\nx-robots-tag: noimageai, noindex\r\n\r\n<p>"
    (page,), _ = read(warc, plain("response", twice, mime="application/http"))
    assert page.headers == {"x-robots-tag": ["noai", "noimageai, noindex"]}


@pytest.mark.parametrize(
    "field",
    [b"X: " + b"a" * 60_000, b"\r\n".join([b"X: y"] * 10_000), b"X: \0\0", b"X: \xff\xfe", b"\xff\0: :", b"no colon"],
    ids=["60 kB", "10,000 fields", "NUL", "no UTF-8", "odd name", "no field"],
)
def test_hostile_http_headers_cost_nothing(warc, field):
    http = b"HTTP/1.1 200 OK\r\n" + field + b"\r\nContent-Type: text/html\r\n\r\n<p>hi"
    (page,), damages = read(warc, plain("response", http, mime="application/http"))
    assert not damages
    assert (page.mime, page.body) == ("text/html", b"<p>hi")


def test_http_headers_without_end_are_damage(warc):
    http = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n<p>hi"
    pages, (damage,) = read(warc, plain("response", http, mime="application/http") + plain("conversion", b"next"))
    assert [page.body for page in pages] == [b"next"]
    assert (damage.kind, damage.url) == ("http", "http://a.org/")


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstd)]
)
def test_a_decompression_bomb_of_any_coding_is_cut_at_the_limit(warc, record, coding, encode):
    bomb = encode(bytes(50 * MB))
    pages, damages = read(warc, record("http://a.org/", bomb, Content_Encoding=coding) + record("http://b.org/", b"b"))
    assert not damages
    assert [(len(page.body), page.cut) for page in pages] == [(MB, True), (1, False)]


def test_codings_piled_on_one_another_are_undone_up_to_a_limit(warc, record):
    twice = gzip.compress(gzip.compress(b"<p>hi"))
    (page,), _ = read(warc, record("http://a.org/", twice, Content_Encoding="gzip, gzip"))
    assert page.body == b"<p>hi"
    pages, (damage,) = read(warc, record("http://a.org/", twice, Content_Encoding=", ".join(["gzip"] * 1_000)))
    assert not pages
    assert damage.kind == "body"


def test_a_body_of_several_gzip_members_is_read_to_its_end(warc, record):
    (page,), _ = read(
        warc, record("http://a.org/", gzip.compress(b"<p>a") + gzip.compress(b"b"), Content_Encoding="gzip")
    )
    assert page.body == b"<p>ab"


def test_an_unknown_coding_is_damage_unless_the_body_is_text(warc, record):
    (page,), _ = read(warc, record("http://a.org/", b"<p>text", Content_Encoding="utf-8"))
    assert page.body == b"<p>text"
    pages, (damage,) = read(warc, record("http://a.org/", bytes(range(256)), Content_Encoding="aes128gcm"))
    assert not pages
    assert damage.kind == "body"


@pytest.mark.parametrize("declared", [10, 90, 5_000])
@pytest.mark.parametrize(
    "http",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<p>hi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<p>hi\r\n0\r\n\r\n",
    ],
)
def test_a_wrong_length_costs_no_record_whose_http_says_where_it_ends(warc, http, declared):
    wrong = plain("response", http, mime="application/http", length=declared)
    pages, damages = read(warc, wrong + plain("conversion", b"next"))
    assert not damages
    assert [(page.body, page.repaired) for page in pages] == [(b"<p>hi", "length"), (b"next", None)]


def test_a_text_with_a_wrong_length_is_kept_unless_the_file_breaks_off_in_it(warc):
    first, last = (plain("conversion", b"a text", length=length) for length in (60, 3))
    pages, damages = read(warc, first + last)
    assert not damages
    assert [(page.body, page.repaired) for page in pages] == [(b"a text", "length")] * 2
    pages, (damage,) = read(warc, last + first)
    assert (len(pages), damage.kind) == (1, "length")


def test_a_response_that_was_not_fetched_whole_says_why(warc):
    short = plain("response", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n<p>hi", mime="application/http")
    told = plain("response", b"HTTP/1.1 200 OK\r\n\r\n<p>hi", mime="application/http", WARC_Truncated="time")
    encoded = gzip.compress(b"<p>hi")
    stale = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 999\r\n\r\n" + encoded
    pages, damages = read(warc, short + told + plain("response", stale, mime="application/http"))
    assert not damages
    assert [(page.body, page.truncated) for page in pages] == [
        (b"<p>hi", "content-length"),
        (b"<p>hi", "time"),
        (b"<p>hi", None),
    ]


@pytest.mark.data
def test_every_file_there_is_ends_without_an_exception(shared_data):
    for path in sorted((shared_data / "web").glob("*/*")):
        for event in read_responses(path, max_body_bytes=MB):
            assert isinstance(event, Page | Ignored | Damage)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pages", "damages"),
    [
        ("malformed/bad.arc", 0, 4),
        ("malformed/dupes.warc.gz", 3, 0),
        ("malformed/example-bad-non-chunked.warc.gz", 1, 0),
        ("malformed/example-trunc.warc", 1, 0),
        ("malformed/example-wget-1-14.warc.gz", 1, 0),
        ("malformed/example-wrong-chunks.warc.gz", 1, 0),
        ("malformed/example.arc.gz", 1, 0),
        ("malformed/missing-status-text.warc", 1, 0),
        ("genuine/cc-main-2019-13-sample.wet.txt", 3, 0),
        ("genuine/cc-main-2020-34-16pages.warc.gz", 16, 0),
        ("genuine/dolma-wget-sample-0000.warc.gz", 22, 0),
        ("genuine/iana-liveweb-revisits.warc.gz", 48, 0),
        ("genuine/whirlwind.warc.gz", 1, 0),
        ("genuine/whirlwind.warc.wet.gz", 1, 0),
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
