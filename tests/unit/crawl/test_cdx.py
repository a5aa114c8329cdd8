import gzip
import re

import pytest

from gristmill.crawl.cdx import Capture, fault_of_record


@pytest.mark.parametrize("fault", ["head", "url", "cut", "more", "content", "digest", "length", "plain"])
def test_every_wrong_record_is_recognised(record, fault):
    url, member = "https://example.org/", record("https://example.org/", b"<p>" + b"content " * 100)
    plain = gzip.decompress(member)
    digest = re.search(rb"WARC-Payload-Digest: sha1:(\w+)", plain)
    assert digest
    capture = Capture(url=url, timestamp="", filename="file", offset=0, length=len(member), digest=digest[1].decode())
    assert fault_of_record(member, capture) is None
    changed = {
        "head": gzip.compress(plain[6:]),
        "url": record("https://example.org/other", b"<p>"),
        "cut": member[:-20],
        "more": member + b"\0",
        "content": gzip.compress(plain.replace(b"content", b"kontent", 1)),
        "digest": record(url, b"<p>another version"),
        "length": gzip.compress(plain[:-50]),
        "plain": plain,
    }[fault]
    assert fault_of_record(changed, capture) is not None


@pytest.mark.data
def test_a_genuine_record_fits_its_index_line(shared_data):
    """Offset, length and digest of the response in Common Crawl's own sample file, as its index gives them."""
    content = (shared_data / "web/genuine/whirlwind.warc.gz").read_bytes()
    capture = Capture(
        url="https://an.wikipedia.org/wiki/Escopete",
        timestamp="20240518015810",
        filename="whirlwind.warc.gz",
        offset=1023,
        length=17351,
        digest="RY7PLBUFQNI2FFV5FTUQK72W6SNPXLQU",
    )
    assert fault_of_record(content[1023 : 1023 + 17351], capture) is None
    assert "digest" in (
        fault_of_record(content[1023 : 1023 + 17351], capture.model_copy(update={"digest": "A" * 32})) or ""
    )
