import hashlib
from pathlib import Path

import pytest

from gristmill.crawl.config import IngestConfig
from gristmill.crawl.ingest import run_ingest
from gristmill.text.config import ExtractConfig
from gristmill.text.documents import read_documents, read_shard
from gristmill.text.extract import run_extract

ENGLISH = "The miller carries the grain to the mill, and the wheel turns slowly in the cold water of the river. "
GERMAN = "Der Müller trägt das Getreide zur Mühle, und das Rad dreht sich langsam im kalten Wasser des Flusses. "


def html(text: str, *, paragraphs: int = 8) -> bytes:
    body = "".join(f"<p>Paragraph {i}. {text}</p>" for i in range(paragraphs))
    navigation = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/x'>Products</a></li></ul></nav>"
    page = (
        f"<html><head><meta charset=utf-8><title>Mill</title></head><body>{navigation}<main>{body}</main></body></html>"
    )
    return page.encode()


@pytest.fixture
def warcs(tmp_path, record):
    """A function that makes an artifact of ingest from the contents of WARC files."""

    def build(*contents: bytes) -> Path:
        crawl = tmp_path / "crawl"
        crawl.mkdir()
        for number, content in enumerate(contents):
            (crawl / f"{number}.warc.gz").write_bytes(content)
        source = {"kind": "warc", "name": "web", "license": "CC0-1.0", "paths": [f"{crawl}/*"]}
        folder = tmp_path / "warcs"
        folder.mkdir()
        run_ingest(folder, IngestConfig.model_validate({"sources": [source]}))
        return folder

    return build


def verdicts(out: Path) -> dict[str, tuple[str, str, str]]:
    """Those of the dropped pages, by URL; the kept ones are asserted to be the documents."""
    rows = list(read_shard(out / "verdicts.parquet"))
    kept = [row["doc_id"] for row in rows if row["decision"] == "kept"]
    assert kept == [document["doc_id"] for document in read_documents(out)]
    return {row["url"]: (row["rule"], row["value"], row["threshold"]) for row in rows if row["doc_id"] not in kept}


@pytest.mark.parametrize("mode", ["precise", "fast", "union"])
def test_a_page_becomes_a_document_with_its_origin(tmp_path, warcs, record, mode):
    content = record("http://a.org/", html(ENGLISH))
    report = run_extract(warcs(content), tmp_path / "out", ExtractConfig(mode=mode))
    (document,) = read_documents(tmp_path / "out")
    assert document["text"].splitlines()[0].startswith("Paragraph 0. The miller carries")
    assert "Products" not in document["text"]
    place = "web/0.warc.gz:0:http://a.org/"
    assert document["doc_id"] == hashlib.sha256(place.encode()).hexdigest()[:16]
    assert document["date"] == "2024-05-01T00:00:00Z"
    assert (document["source"], document["license"], document["language"]) == ("web", "CC0-1.0", "en")
    assert (report.rows_in, report.rows_out, report.dropped) == (1, 1, {})


def test_every_page_that_is_no_document_has_a_verdict(tmp_path, warcs, record):
    damaged = record("http://damaged.org/", html(ENGLISH), gzip=False).replace(b"HTTP/1.1", b"XTTP/1.1")
    folder = warcs(
        record("http://kept.org/", html(ENGLISH))
        + record("http://german.org/", html(GERMAN))
        + record("http://gone.org/", html(ENGLISH), status="404 Not Found")
        + record("http://pdf.org/", b"%PDF-1.4", content_type="application/pdf")
        + record("http://large.org/", html(ENGLISH, paragraphs=400))
        + record("http://empty.org/", html("", paragraphs=0)),
        record("http://also.org/", html(ENGLISH), gzip=False) + damaged,
    )
    report = run_extract(folder, tmp_path / "out", ExtractConfig(max_body_bytes=20_000, min_language_score=0.65))
    assert [document["url"] for document in read_documents(tmp_path / "out")] == [
        "http://kept.org/",
        "http://also.org/",
    ]
    found = verdicts(tmp_path / "out")
    rule, value, threshold = found.pop("http://german.org/")
    assert (rule, value[:4], threshold) == ("language", "de 0", "en 0.65")
    assert found.pop("http://gone.org/") == ("status", "404", "200")
    assert found.pop("http://pdf.org/") == ("mime", "application/pdf", "text/html")
    assert found.pop("http://large.org/") == ("too_large", "> 20000 bytes", "20000 bytes")
    assert found.pop("http://empty.org/")[0] == "empty"
    assert found.pop("http://damaged.org/")[0] == "damaged:http"
    assert not found
    assert report.rows_in == report.rows_out + sum(report.dropped.values()) == 8
    assert report.details["languages"] == {"de": 1, "en": 2}


def test_a_truncated_file_gives_what_is_whole_and_counts_the_rest(tmp_path, warcs, record):
    whole = record("http://a.org/", html(ENGLISH))
    report = run_extract(warcs(whole + whole[: len(whole) // 2]), tmp_path / "out", ExtractConfig())
    assert report.rows_out == 1
    assert report.dropped == {"damaged:truncated": 1}


def test_a_page_in_any_configured_language_is_kept(tmp_path, warcs, record):
    folder = warcs(record("http://a.org/", html(ENGLISH)) + record("http://b.org/", html(GERMAN)))
    run_extract(folder, tmp_path / "out", ExtractConfig(languages=["de", "en"]))
    assert [document["language"] for document in read_documents(tmp_path / "out")] == ["en", "de"]


def test_no_document_at_all_says_by_which_rules_and_what_to_change(tmp_path, warcs, record):
    folder = warcs(record("http://b.org/", html(GERMAN)) + record("http://c.org/", b"", status="500 Oops"))
    with pytest.raises(ValueError, match=r"none of 2 pages .*1 by language.*found: de 1, kept: en.*extract\.languages"):
        run_extract(folder, tmp_path / "out", ExtractConfig())


def test_one_or_two_workers_or_a_continued_run_write_the_same_bytes(tmp_path, warcs, record):
    contents = [
        b"".join(record(f"http://a.org/{file}/{i}", html((ENGLISH, GERMAN)[i % 2] + str(i))) for i in range(4))
        for file in range(3)
    ]
    folder = warcs(*contents)

    def build(name: str, workers: int) -> dict[str, bytes]:
        out = tmp_path / name
        run_extract(folder, out, ExtractConfig(), workers=workers)
        return {path.name: path.read_bytes() for path in out.glob("*.parquet")}

    alone = build("one", 1)
    assert sorted(alone) == [*(f"part-0000{i}.parquet" for i in range(3)), "verdicts.parquet"]
    assert build("two", 2) == alone
    (tmp_path / "one" / "verdicts.parquet").unlink()
    (tmp_path / "one" / ".done" / "00001").unlink()
    assert build("one", 1) == alone


UKRAINIAN = "Мельник несе зерно до млина, і колесо повільно обертається у холодній воді річки під греблею. "


def extracted(folder: Path, out: Path, **config: object) -> tuple[list[dict], dict[str, tuple[str, str, str]]]:
    """Documents, and the verdicts of the dropped pages by URL."""
    run_extract(folder, out, ExtractConfig.model_validate(config))
    return list(read_documents(out)), verdicts(out)


def test_a_page_in_two_languages_is_mixed_and_is_kept_split_or_dropped_as_configured(tmp_path, warcs, record):
    both = html("</p><p>".join([ENGLISH * 4, UKRAINIAN * 4]), paragraphs=1)
    folder = warcs(record("http://mixed.org/", both) + record("http://english.org/", html(ENGLISH)))
    (mixed, english), _ = extracted(folder, tmp_path / "keep", languages=["en", "uk"])
    assert (mixed["language_status"], english["language_status"]) == ("mixed", "certain")
    assert set(mixed["paragraph_languages"]) == {"en", "uk"}

    *parts, english = extracted(folder, tmp_path / "split", languages=["en", "uk"], mixed="split")[0]
    assert [part["language"] for part in parts] == ["en", "uk"]
    assert "млина" not in parts[0]["text"]
    assert "mill" not in parts[1]["text"]
    assert sum(len(part["text"]) for part in parts) == pytest.approx(len(mixed["text"]), abs=4)
    assert len({mixed["doc_id"], *(part["doc_id"] for part in parts)}) == 3

    (part, _), _ = extracted(folder, tmp_path / "one", languages=["en"], mixed="split")
    assert (part["language"], part["url"]) == ("en", "http://mixed.org/")

    _, dropped = extracted(folder, tmp_path / "drop", languages=["en", "uk"], mixed="drop")
    assert dropped["http://mixed.org/"][0] == "language_mixed"


def test_a_page_too_short_to_be_sure_of_is_dropped_where_that_is_asked_for(tmp_path, warcs, record):
    folder = warcs(
        record("http://short.org/", html("The wheel turns slowly in the cold water.", paragraphs=2))
        + record("http://long.org/", html(ENGLISH))
    )
    kept, _ = extracted(folder, tmp_path / "keep", mode="fast")
    assert [document["language_status"] for document in kept] == ["uncertain", "certain"]
    _, dropped = extracted(folder, tmp_path / "drop", mode="fast", uncertain="drop")
    assert dropped["http://short.org/"][0] == "language_uncertain"


def conversion(url: str, text: str, mime: str, *fields: str) -> bytes:
    """A record such as those of WET files, written by hand."""
    block = text.encode()
    head = ["WARC/1.0", "WARC-Type: conversion", f"WARC-Target-URI: {url}", "WARC-Date: 2024-05-01T00:00:00Z"]
    head += [f"Content-Type: {mime}", f"Content-Length: {len(block)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def test_text_is_taken_as_it_is_and_code_is_asked_no_language(tmp_path, warcs):
    folder = warcs(
        conversion("http://wet.org/", ENGLISH * 4 + "\n<b>not markup</b>", "text/plain")
        + conversion("http://book.org/", ENGLISH * 4, "text/plain", "Gristmill-License: CC-BY-4.0")
        + conversion("http://german.org/", GERMAN * 4, "text/plain")
        + conversion("http://code.org/a.py", "def mill(grain):\n    return grain\n" * 4, "text/x-source; lang=python")
    )
    documents, dropped = extracted(folder, tmp_path / "out")
    assert [document["language"] for document in documents] == ["en", "en", "code"]
    assert documents[0]["text"].endswith("<b>not markup</b>")
    assert [document["license"] for document in documents] == ["CC0-1.0", "CC-BY-4.0", "CC0-1.0"]
    assert "    return grain" in documents[2]["text"]
    assert dropped["http://german.org/"][0] == "language"


def test_listed_addresses_and_reserved_pages_are_left_out_with_what_was_found(tmp_path, warcs, record):
    (tmp_path / "domains.txt").write_text("listed.org\n")
    reserved = html(ENGLISH).replace(b"<head>", b'<head><meta name="robots" content="noai">')
    folder = warcs(
        record("http://www.listed.org/x", html(ENGLISH))
        + record("http://meta.org/", reserved)
        + record("http://header.org/", html(ENGLISH), tdm_reservation="1")
        + record("http://kept.org/", html(ENGLISH))
    )
    config = {"url_filter": {"domains": [str(tmp_path / "domains.txt")]}}
    documents, dropped = extracted(folder, tmp_path / "out", **config)
    assert [document["url"] for document in documents] == ["http://kept.org/"]
    assert {url: facts[0] for url, facts in dropped.items()} == {
        "http://www.listed.org/x": "url_domain",
        "http://meta.org/": "opt_out:noai",
        "http://header.org/": "opt_out:tdm_reservation",
    }
    lenient = {"reservations": {"noai": False, "tdm_reservation": False}}
    assert len(extracted(folder, tmp_path / "lenient", **lenient)[0]) == 4


@pytest.mark.data
def test_pages_fetched_by_wget_become_documents(tmp_path, shared_data):
    path = shared_data / "web/genuine/dolma-wget-sample-0000.warc.gz"
    source = {"kind": "warc", "name": "web", "paths": [str(path)]}
    (tmp_path / "warcs").mkdir()
    run_ingest(tmp_path / "warcs", IngestConfig.model_validate({"sources": [source]}))
    report = run_extract(tmp_path / "warcs", tmp_path / "out", ExtractConfig(mode="fast"))
    assert report.rows_in == 22
    assert report.rows_out >= 19
    assert report.details["other_records"] == {"resource": 2}


def test_pages_made_to_stall_a_parser_cost_a_verdict_or_nothing(tmp_path, warcs, record):
    needle = f"<p>NEEDLE {ENGLISH * 3}</p>"
    bold = "".join(f"<b id={i}>" for i in range(190))
    attributes = " ".join(f"a{i}=1" for i in range(60_000))
    hostile = {
        "deep": "<div>" * 1000 + needle,
        "deeper": "<div>" * 10_000 + needle,
        "reopened": f"<p>{bold}</p>{'<p>x' * 20_000}{needle}",
        "attributes": f"<div a='>' {attributes}>{needle}</div>",
        "siblings": needle + "<p>a</p>" * 90_000,
    }
    content = b"".join(
        record(f"http://{name}.org/", html(ENGLISH).replace(b"<main>", b"<main>" + markup.encode()))
        for name, markup in hostile.items()
    )
    report = run_extract(warcs(content + record("http://after.org/", html(ENGLISH))), tmp_path / "out", ExtractConfig())
    documents = {document["url"]: document["text"] for document in read_documents(tmp_path / "out")}
    assert list(documents) == [f"http://{name}.org/" for name in ("deep", "deeper", "reopened", "attributes", "after")]
    assert ["NEEDLE" in text for text in documents.values()] == [True, True, True, True, False]
    assert verdicts(tmp_path / "out") == {
        "http://siblings.org/": ("too_costly", "at least 30001 tags", "30000 tags"),
    }
    assert report.details["over_budget"] == {"attributes": 1, "levels": 2, "nodes": 1, "tags": 1}


def test_a_page_that_costs_too_much_all_the_same_is_ended_and_the_next_one_read(tmp_path, warcs, record, monkeypatch):
    monkeypatch.setattr("gristmill.text.extract.PARSE_CPU_S", 0.5)
    monkeypatch.setattr("gristmill.text.extract.may_be_costly", lambda html: False)
    slow = html(ENGLISH).replace(b"<main>", b"<main>" + b"<div>" * 20_000)
    folder = warcs(record("http://slow.org/", slow) + record("http://after.org/", html(ENGLISH)))
    documents, dropped = extracted(folder, tmp_path / "out")
    assert [document["url"] for document in documents] == ["http://after.org/"]
    assert dropped == {
        "http://slow.org/": ("too_costly", "cpu: more than 0.5 CPU-seconds", "0.5 CPU-seconds for a parser")
    }
