"""One spelling for each page."""

import pytest

from gristmill.crawl.urls import canonical_url


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://www.A.org/x/#part", "a.org/x"),
        ("http://a.org:80/x", "a.org/x"),
        ("http://a.org:8080/x", "a.org:8080/x"),
        # RFC 3986, 6.2.2.1 and 6.2.2.2
        ("https://a.org/%c2%b7b", "a.org/%C2%B7b"),
        ("https://a.org/·b", "a.org/%C2%B7b"),
        ("https://a.org/%7Eanna/%2fx", "a.org/~anna/%2Fx"),
        ("https://a.org/x?q=%d1%8f", "a.org/x?q=%D1%8F"),
        ("https://a.org/100%", "a.org/100%"),
        ("no url", "no url"),
    ],
)
def test_spellings_of_a_page_agree(url: str, canonical: str):
    assert canonical_url(url) == canonical
