import gzip

import pytest
from pydantic import ValidationError

from gristmill.crawl.records import Page, read_responses
from gristmill.crawl.text_source import decode_text, split_text, write_warcs
from gristmill.crawl.text_sources_config import TextSource


def source(*paths, **fields) -> TextSource:
    return TextSource.model_validate({"name": "books", "paths": [str(path) for path in paths] or ["x"], **fields})


def texts(folder) -> dict[str, str]:
    events = [e for path in sorted(folder.glob("*.warc.gz")) for e in read_responses(path, max_body_bytes=1 << 20)]
    return {event.url: event.body.decode() for event in events if isinstance(event, Page)}


def test_each_file_is_one_document(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/a.txt").write_text("first")
    (tmp_path / "in/deep/b.txt.gz").write_bytes(gzip.compress(b"second"))
    write_warcs(source(tmp_path / "in/**/*.txt*"), tmp_path / "out")
    assert texts(tmp_path / "out") == {"file:///books/a.txt": "first", "file:///books/deep/b.txt.gz": "second"}


def test_files_that_are_no_text_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "b.txt").write_bytes(b"PK\x03\x04\0\0\0\0")
    (tmp_path / "c.txt").write_text(" \n")
    (tmp_path / "d.txt").write_text("x" * 2_000)
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"x" * 100)[:-9])
    report = write_warcs(source(tmp_path / "*.txt*", max_file_mb=0.001), tmp_path / "out")
    assert report.dropped == {"broken_file": 1, "empty": 1, "encoding": 1, "too_large": 1}
    assert report.rows_out == 1


def test_a_source_without_a_text_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xff\xff")
    with pytest.raises(
        ValueError, match=r"no file of source 'books' has a text \(1 encoding\).*`encoding` \(now utf-8\)"
    ):
        write_warcs(source(tmp_path / "a.txt", encoding="utf-8"), tmp_path / "out")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "windows-1251", "koi8-r"])
def test_an_encoding_is_found_by_its_mark_or_by_the_letters(encoding):
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
    assert decode_text(text.encode(encoding), "auto") == text


def test_line_ends_become_one_kind():
    assert decode_text(b"a\r\nb\rc\n", "auto") == "a\nb\nc\n"


def test_a_long_text_is_divided_at_blank_lines_and_none_of_it_is_lost():
    text = "".join(f"paragraph {i} " + "word " * 15 + "\n\n" for i in range(50))
    parts = list(split_text(text, source(max_chars=400)))
    assert "".join(parts) == text
    assert all(len(part) <= 400 for part in parts)
    assert all(part.endswith("\n\n") for part in parts if part)


@pytest.mark.parametrize(("text", "mark"), [("line of text\n" * 100, "\n"), ("word " * 200, " "), ("x" * 1_000, "x")])
def test_without_blank_lines_it_is_divided_at_line_ends_then_spaces_then_anywhere(text, mark):
    parts = list(split_text(text, source(max_chars=100)))
    assert "".join(parts) == text
    assert all(50 <= len(part) <= 100 for part in parts[:-1])
    assert all(part.endswith(mark) for part in parts if part)


def test_form_feeds_divide_documents_where_wanted(tmp_path):
    (tmp_path / "a.txt").write_text("one\f\f two")
    write_warcs(source(tmp_path / "a.txt", split_at_form_feeds=True), tmp_path / "split")
    write_warcs(source(tmp_path / "a.txt"), tmp_path / "whole")
    assert texts(tmp_path / "split") == {"file:///books/a.txt#1": "one", "file:///books/a.txt#2": " two"}
    assert texts(tmp_path / "whole") == {"file:///books/a.txt": "one\f\f two"}


def test_an_encoding_that_python_does_not_know_is_refused():
    with pytest.raises(ValidationError, match="encoding='utf8mb4' is none that Python knows"):
        source(encoding="utf8mb4")
