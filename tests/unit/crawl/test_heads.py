import time

import pytest

from gristmill.crawl.heads import HEAD_BYTES, Head


def test_fields_are_found_by_lower_cased_name_in_their_order():
    message = b"HTTP/1.1 200 OK\r\nX-Robots-Tag: noai\r\nx-robots-tag:  noindex \r\n\r\nbody"
    head = Head.parse(message)
    assert head.fields == {"x-robots-tag": ["noai", "noindex"]}
    assert (head.start_line, head.status, head.size, head.ended) == ("HTTP/1.1 200 OK", 200, len(message) - 4, True)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r\r\n"])
def test_the_content_begins_after_the_blank_line(line_end):
    message = line_end.join([b"HTTP/1.0 404 Not Found", b"A: b", b"", b"content"])
    head = Head.parse(message)
    assert message[head.size :] == b"content"
    assert head.fields == {"a": ["b"]}


def test_a_folded_field_is_one_value():
    assert Head.parse(b"X\r\nA: one\r\n two\r\n\tthree\r\nB: c\r\n\r\n").fields == {"a": ["one two three"], "b": ["c"]}


def test_a_list_may_stand_in_one_field_or_in_several():
    head = Head.parse(b"X\r\nTransfer-Encoding: GZIP, chunked\r\ntransfer-encoding: br\r\n\r\n")
    assert head.listed("transfer-encoding") == ["gzip", "chunked", "br"]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        (b"A: x\0y\r\n", "x\0y"),
        (b"A: \xff\xfe\r\n", "\ufffd\ufffd"),
        (b"no colon\r\nA: x\r\n", "x"),
        (b": nameless\r\n folded\r\nA: x\r\n", "x"),
        (b" folded first\r\nA: x\r\n", "x"),
    ],
)
def test_odd_bytes_are_kept_or_left_out_and_raise_nothing(fields, value):
    assert Head.parse(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n").get("a") == value


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200", 200),
        ("HTTP/2 204 No Content", 204),
        ("HTTPX/1.1 200 OK", None),
        ("HTTP/1.1 2000 OK", None),
        ("HTTP/1.1 ٢٠٠ OK", None),
        ("<html>", None),
        ("", None),
    ],
)
def test_only_a_status_line_has_a_status(line, status):
    assert Head.parse(line.encode() + b"\r\n\r\n").status == status


@pytest.mark.parametrize("filling", [b"\r", b"\n\r", b"A: b\r\n", b"a" * 50 + b"\r\n", b":", b" \n"])
def test_a_head_that_does_not_end_is_read_in_time_linear_in_its_length(filling):
    opening = (b"HTTP/1.1 200 OK" + filling * (2 * HEAD_BYTES // len(filling)))[: 2 * HEAD_BYTES]
    start = time.process_time()
    head = Head.parse(opening)
    assert head.size <= HEAD_BYTES
    # a square of the length would be 4e9 steps
    assert time.process_time() - start < 1
