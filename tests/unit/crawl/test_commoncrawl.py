import gzip
import io
import json
import re
import subprocess
import sys
import time
from collections import Counter

import pytest
from faulty_server import FAULTS
from pydantic import ValidationError
from warcio.archiveiterator import ArchiveIterator

from flows.cli import workspace
from gristmill.crawl.commoncrawl import _sample
from gristmill.crawl.config import CommonCrawlSource, IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.crawl.manifest import read_manifest
from gristmill.errors import SourceUnavailable
from gristmill.report import Report
from gristmill.store import ArtifactStore
from tasks.ingest import ingest as ingest_stage
from tasks.stage import Session, session

CRAWL = "CC-MAIN-2024-22"
FILES = 6
PAGES_PER_FILE = 5


class Site:
    """A small Common Crawl on a local server: `captures` are the lines of its index."""

    def __init__(self, server, record):
        self.server = server
        self.captures = []
        paths = [f"crawl-data/{CRAWL}/segments/17.{number % 2}/warc/{number:05d}.warc.gz" for number in range(FILES)]
        for number, path in enumerate(paths):
            content = b""
            for page in range(PAGES_PER_FILE):
                url = f"https://{'sub.' * (page % 2)}example.org/{number}/{page}"
                member = record(url, f"<p>page {page} of file {number} {'word ' * page * 40}".encode())
                self.captures.append(self.line(url, path, len(content), member, page))
                content += member
            server.files[path] = content
        self.paths = paths
        self.list_crawls("CC-MAIN-2024-18", CRAWL, "CC-MAIN-2012")
        self.list_paths(CRAWL, paths)
        self.index_of(CRAWL)

    def list_crawls(self, *crawls):
        self.server.files["collinfo.json"] = json.dumps([{"id": crawl} for crawl in crawls]).encode()

    def list_paths(self, crawl, paths):
        self.server.files[f"crawl-data/{crawl}/warc.paths.gz"] = gzip.compress("\n".join(paths).encode() + b"\n")

    def index_of(self, crawl, pages=3):
        """An index that honours no filter and shows the last line of each page again on the next one."""

        def answer(query):
            if not query["url"][0].endswith("example.org"):
                return 404, b'{"message": "No Captures found for: x"}'
            if "showNumPages" in query:
                return 200, json.dumps({"pages": pages, "pageSize": 5, "blocks": 11}).encode()
            size, page = len(self.captures) // pages, int(query["page"][0])
            lines = self.captures[max(page * size - 1, 0) : (page + 1) * size]
            return 200, "".join(json.dumps(line) + "\n" for line in lines).encode()

        self.server.answers[f"{crawl}-index"] = answer

    @staticmethod
    def line(url, path, offset, member, page):
        payload = next(iter(ArchiveIterator(io.BytesIO(member)))).rec_headers.get_header("WARC-Payload-Digest")
        return {
            "urlkey": "org,example)/",
            "timestamp": "20240518015810",
            "url": url,
            "mime": "text/html",
            "mime-detected": "application/pdf" if page == 4 else "text/html",
            "status": "404" if page == 3 else "200",
            "digest": payload.removeprefix("sha1:"),
            "length": str(len(member)),
            "offset": str(offset),
            "filename": path,
            "languages": "ukr,eng" if page == 2 else "eng",
        }

    def source(self, **fields):
        source = {"kind": "commoncrawl", "name": "cc", "crawl": CRAWL, "sample_files": None, **fields}
        if "cdx" in fields:
            del source["sample_files"]
        return CommonCrawlSource(base_url=self.server.url, index_url=self.server.url + "/", **source)


@pytest.fixture
def site(server, waits, record):
    return Site(server, record)


def ingest(out, source):
    return run_ingest(out, IngestConfig(sources=[source]))


def urls(out):
    """URL → how many records of it all files of the manifest hold, read by warcio."""
    found = Counter()
    for entry in read_manifest(out):
        with (out / entry.file).open("rb") as file:
            found.update(record.rec_headers.get_header("WARC-Target-URI") for record in ArchiveIterator(file))
    return found


def every_page(files=range(FILES)):
    return Counter(
        f"https://{'sub.' * (page % 2)}example.org/{number}/{page}"
        for number in files
        for page in range(PAGES_PER_FILE)
    )


def test_all_files_of_a_crawl_arrive_as_they_are(site, tmp_path):
    report = ingest(tmp_path, site.source())
    assert report.rows_out == FILES
    for entry, path in zip(read_manifest(tmp_path), site.paths, strict=True):
        assert (tmp_path / entry.file).read_bytes() == site.server.files[path]


def test_latest_is_the_newest_crawl_and_its_id_is_in_the_key(site):
    latest = site.source(crawl="latest")
    assert latest.identity() == site.source().identity()
    site.list_paths("CC-MAIN-2024-26", site.paths[:2])
    site.list_crawls(CRAWL, "CC-MAIN-2024-26", "CC-MAIN-2012")
    assert latest.identity()["crawl"] == "CC-MAIN-2024-26"


def test_the_build_takes_the_crawl_that_the_key_was_computed_from(site, tmp_path):
    source = site.source(crawl="latest")
    source.identity()
    site.list_crawls(CRAWL, "CC-MAIN-2024-26")  # published between plan and build; its paths are not there yet
    ingest(tmp_path, source)
    assert urls(tmp_path) == every_page()


def test_the_key_says_what_and_not_how_or_where(site):
    before = site.source(sample_files=3).identity()
    same = site.source(sample_files=3, connections=1, tries=2, weight=5).model_copy(
        update={"base_url": site.server.url + "/"}
    )
    assert same.identity() == before
    others = [{"sample_files": 2}, {"sample_files": 3, "seed": 1}, {"sample_files": 3, "first_mb": 1}]
    for other in others:
        assert site.source(**other).identity() != before
    site.list_paths(CRAWL, site.paths[:-1])
    assert site.source(sample_files=3).identity() != before


def test_a_sample_holds_the_smaller_ones_and_changes_with_the_seed():
    paths = [f"path-{number}" for number in range(1000)]
    samples = [_sample(paths, size, 0) for size in (1, 10, 100)]
    assert [len(sample) for sample in samples] == [1, 10, 100]
    assert set(samples[0]) < set(samples[1]) < set(samples[2])
    assert samples[2] == sorted(samples[2], key=paths.index)
    assert set(_sample(paths, 100, 1)) != set(samples[2])
    assert _sample(paths[::-1], 100, 0) == samples[2][::-1]


@pytest.mark.data
def test_the_real_path_list_gives_files_of_different_names(server, waits, shared_data):
    listing = (shared_data / f"web/genuine/{CRAWL}.warc.paths.gz").read_bytes()
    server.files[f"crawl-data/{CRAWL}/warc.paths.gz"] = listing
    source = CommonCrawlSource(crawl=CRAWL, base_url=server.url, sample_files=10)
    resolved = source.resolved()
    lines = gzip.decompress(listing).decode().split("\n")
    assert len(resolved.paths) == 10
    assert set(resolved.paths) < set(lines)


def test_the_first_megabytes_end_with_a_whole_record(site, tmp_path):
    whole = site.server.files[site.paths[0]]
    sizes = [int(line["length"]) for line in site.captures[:PAGES_PER_FILE]]
    limit = sum(sizes[:3]) + 10  # ten bytes of the fourth record
    ingest(tmp_path, site.source(first_mb=limit / 1e6))
    assert (tmp_path / "cc/00000.warc.gz").read_bytes() == whole[: sum(sizes[:3])]
    asked = site.server.asked(site.paths[0])
    assert [headers["range"] for headers in asked] == [f"bytes=0-{limit - 1}"]


def test_first_megabytes_without_a_whole_record_are_refused(site, tmp_path):
    with pytest.raises(
        ValueError, match=r"the first record of .*00000.warc.gz is longer than first_mb=1e-05; raise it"
    ):
        ingest(tmp_path, site.source(first_mb=1e-5))


def test_wet_files_come_from_their_own_list(site, tmp_path):
    site.list_paths(CRAWL, [])
    member = gzip.compress(b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 2\r\n\r\nhi\r\n\r\n")
    site.server.files["a.warc.wet.gz"] = member
    site.server.files[f"crawl-data/{CRAWL}/wet.paths.gz"] = gzip.compress(b"a.warc.wet.gz\n")
    ingest(tmp_path, site.source(files="wet"))
    assert (tmp_path / "cc/a.warc.wet.gz").read_bytes() == member


@pytest.mark.parametrize("mode", ["files", "first_mb", "cdx"])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
def test_nothing_is_lost_and_nothing_doubled(site, tmp_path, mode, fault):
    """Every listing, file and record meets the fault; what arrives is what an honest server gives."""
    fields = {
        "files": {},
        "first_mb": {"first_mb": 1},
        "cdx": {"cdx": {"url": "example.org", "status": None, "mimes": None, "pages_per_warc": 7}},
    }[mode]
    ingest(tmp_path / "honest", site.source(**fields))
    # no check sum guards a JSON line against a changed byte where there is no TLS
    for path in [*site.server.files, *(site.server.answers if fault != "corrupted" else ())]:
        site.server.faults[path] = [fault]
    report = ingest(tmp_path / "faulty", site.source(**fields))
    assert urls(tmp_path / "faulty") == every_page()
    assert read_manifest(tmp_path / "faulty") == read_manifest(tmp_path / "honest")
    assert report.dropped == {}


def test_a_killed_ingest_goes_on_with_what_is_missing(site, tmp_path):
    site.server.faults[site.paths[3]] = ["dropped"] + ["503"] * 50
    with pytest.raises(SourceUnavailable, match="what has arrived is kept"):
        ingest(tmp_path, site.source(connections=1))
    site.server.faults.clear()
    site.server.requests.clear()
    ingest(tmp_path, site.source(connections=1))
    assert urls(tmp_path) == every_page()
    assert not [path for path, _ in site.server.requests if path in site.paths[:3]]
    assert site.server.asked(site.paths[3])[0]["range"] != "bytes=0-"
    assert not list(tmp_path.rglob("*.part*"))


def test_an_ingest_that_died_by_sigkill_is_finished_by_the_next(site, tmp_path):
    config = IngestConfig(sources=[site.source(connections=2)])
    site.server.faults[site.paths[2]] = ["slow"]
    program = (
        "import sys, pathlib; from gristmill.crawl.config import IngestConfig; "
        "from gristmill.crawl.ingest import run_ingest; "
        "run_ingest(pathlib.Path(sys.argv[1]), IngestConfig.model_validate_json(sys.argv[2]))"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out"), config.model_dump_json()], stderr=subprocess.DEVNULL
    )
    half = tmp_path / "out/cc/00002.warc.gz.part"
    deadline = time.monotonic() + 60
    while not (half.exists() and half.stat().st_size):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    site.server.requests.clear()
    run_ingest(tmp_path / "out", config)
    run_ingest(tmp_path / "undisturbed", config)
    assert urls(tmp_path / "out") == every_page()
    assert read_manifest(tmp_path / "out") == read_manifest(tmp_path / "undisturbed")
    assert site.server.asked(site.paths[2])[0]["range"] != "bytes=0-"
    assert not list(tmp_path.rglob("*.part*"))


def test_a_plan_without_network_is_blocked_though_the_artifact_is_there(site, tmp_path):
    store = ArtifactStore(tmp_path)
    config = IngestConfig(sources=[site.source(crawl="latest")])

    def plan():
        planned = Session(store=store, planning=True, warn=lambda text: None)
        with session(planned):
            ingest_stage(config=config)
        return planned.steps[0]

    first = plan()
    assert first.state == "build"
    assert first.recipe
    with store.building(first.address) as draft:
        store.publish(draft, first.recipe, Report(rows_in=1, rows_out=1), label="ingest", run="first", seconds=2.0)
    assert plan().state == "reuse"
    site.server.faults["collinfo.json"] = ["503"] * 100
    away = plan()
    assert away.state == "blocked"
    assert away.because[0].startswith("source not reachable: ")


def test_the_shipped_configuration_fetches_what_it_says(site, tmp_path):
    shipped = workspace.load_config("commoncrawl", []).ingest
    assert [source.kind for source in shipped.sources] == ["commoncrawl"]
    here = {"base_url": site.server.url, "index_url": site.server.url}
    config = shipped.model_copy(update={"sources": [source.model_copy(update=here) for source in shipped.sources]})
    assert config.identity()["sources"][0]["crawl"] == CRAWL
    run_ingest(tmp_path, config)
    assert urls(tmp_path) == every_page()


def test_captures_are_chosen_by_the_index_and_by_their_own_fields(site, tmp_path):
    cdx = {"url": "example.org", "languages": ["ukr"], "limit": 4, "pages_per_warc": 3}
    report = ingest(tmp_path, site.source(cdx=cdx))
    assert urls(tmp_path) == Counter(f"https://example.org/{number}/2" for number in range(4))
    assert [entry.file for entry in read_manifest(tmp_path)] == [
        "cc/captures-00000.warc.gz",
        "cc/captures-00001.warc.gz",
    ]
    assert report.rows_out == 2


def test_status_and_mime_are_conditions_with_usual_values(site, tmp_path):
    ingest(tmp_path, site.source(cdx={"url": "example.org"}))
    assert {url.rpartition("/")[2] for url in urls(tmp_path)} == {"0", "1", "2"}


def test_the_index_is_asked_for_what_the_query_says(site):
    asked = []
    answer = site.server.answers[f"{CRAWL}-index"]
    site.server.answers[f"{CRAWL}-index"] = lambda query: asked.append(query) or answer(query)
    site.source(cdx={"url": "example.org", "match": "host", "languages": ["eng", "ukr"]}).identity()
    assert asked[0] == {
        "url": ["example.org"],
        "matchType": ["host"],
        "output": ["json"],
        "filter": [
            "=status:200",
            r"~mime-detected:(text/html|application/xhtml\+xml)$",
            "~languages:(eng|ukr)(,.*)?$",
        ],
        "showNumPages": ["true"],
    }
    assert [query["page"] for query in asked[1:]] == [["0"], ["1"], ["2"]]


def test_the_key_of_a_query_changes_with_the_answer_of_the_index(site):
    source = site.source(cdx={"url": "example.org"})
    before = source.identity()
    assert before["captures"] == FILES * 3
    assert source.identity() == before
    del site.captures[0]
    assert source.identity() != before


def test_a_query_without_an_answer_is_a_mistake_of_the_question(site):
    with pytest.raises(ValueError, match=r"the index of CC-MAIN-2024-22 has no capture for .*nowhere.net"):
        site.source(cdx={"url": "nowhere.net"}).identity()


def test_a_record_that_is_not_as_indexed_is_listed_and_counted(site, tmp_path):
    wrong = {**site.captures[1], "url": site.captures[0]["url"] + "?other"}
    gone = {**site.captures[2], "filename": "gone.warc.gz"}
    site.captures = [site.captures[0], wrong, gone]
    site.index_of(CRAWL, pages=1)
    report = ingest(tmp_path, site.source(cdx={"url": "example.org"}))
    assert urls(tmp_path) == Counter([site.captures[0]["url"]])
    assert report.dropped == {"record not as indexed": 2}
    lines = (tmp_path / "cc/captures-00000.warc.gz.lost.jsonl").read_text().splitlines()
    faults = [json.loads(line)["fault"] for line in lines]
    assert re.search(r"fetched 3 times .* the record of https://sub.example.org/0/1, not of", faults[0])
    assert "404" in faults[1]
    again = ingest(tmp_path, site.source(cdx={"url": "example.org"}))
    assert again == report


def test_a_server_that_wants_credentials_ends_the_ingest_and_loses_no_capture(site, tmp_path):
    site.server.faults[site.paths[3]] = ["401"]
    with pytest.raises(SourceUnavailable, match="answers 401"):
        ingest(tmp_path, site.source(cdx={"url": "example.org"}))
    assert not list(tmp_path.rglob("*.lost.jsonl"))
    report = ingest(tmp_path, site.source(cdx={"url": "example.org"}))
    assert report.dropped == {}


def test_a_query_of_which_nothing_is_there_fails(site, tmp_path):
    for path in site.paths:
        del site.server.files[path]
    with pytest.raises(SourceUnavailable, match="none of 18 captures is in"):
        ingest(tmp_path, site.source(cdx={"url": "example.org"}))


@pytest.mark.parametrize(
    ("listing", "content", "message"),
    [
        (
            "collinfo.json",
            b"<html>busy",
            "is not what it should be: no list of crawls, but begins with b'<html>busy'",
        ),
        ("collinfo.json", b"[]", "lists no crawl"),
        (f"crawl-data/{CRAWL}/warc.paths.gz", b"<html>busy", "no list of paths, but begins with b'<html>busy'"),
        (f"crawl-data/{CRAWL}/warc.paths.gz", gzip.compress(b"a\n")[:-9], "the list of paths breaks off"),
        (f"crawl-data/{CRAWL}/warc.paths.gz", gzip.compress(b""), "the list of paths is empty"),
    ],
)
def test_a_listing_that_is_none_makes_the_source_unavailable(site, listing, content, message):
    site.server.files[listing] = content
    with pytest.raises(SourceUnavailable, match=re.escape(message)):
        site.source(crawl="latest").identity()


def test_a_crawl_that_is_not_there_is_named(site):
    with pytest.raises(
        ValueError, match=r"there is no http\S+CC-MAIN-2031-01/warc.paths.gz; index.commoncrawl.org lists"
    ):
        site.source(crawl="CC-MAIN-2031-01").identity()


@pytest.mark.parametrize("crawl", ["latest", CRAWL])
def test_without_network_the_source_is_not_reachable(waits, crawl):
    closed = "http://127.0.0.1:9"  # the port of `discard`, which nobody serves
    source = CommonCrawlSource(crawl=crawl, base_url=closed, index_url=closed)
    with pytest.raises(SourceUnavailable, match=r"source not reachable: http://127.0.0.1:9/"):
        source.identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crawl": "2024-22"}, "is no crawl id; expected `latest` or one such as CC-MAIN-2024-22"),
        ({"cdx": {"url": "x.org"}, "sample_files": 3}, "sample_files chooses files, cdx chooses single pages"),
        ({"cdx": {"url": "x.org"}, "files": "wet"}, "in `warc` files only"),
        ({"cdx": {"url": "x.org"}, "index_url": "s3://commoncrawl"}, "must be http:// or https://"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        CommonCrawlSource(**fields)
