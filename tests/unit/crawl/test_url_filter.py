import gzip
from pathlib import Path

import pytest

from gristmill.crawl.url_filter import UrlFilter, UrlFilterConfig
from gristmill.errors import SourceUnavailable


@pytest.fixture
def url_filter(tmp_path: Path) -> UrlFilter:
    lists = {
        "domains": "# adult\nbad.example\nsub.mixed.org\nпример.рф\n",
        "urls": "forum.org/rude\nhttps://www.news.com/gore/\n",
        "banned_words": "xxx\n",
        "soft_banned_words": "hot\nsingles\nfree\n",
        "banned_subwords": "big-badword\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return UrlFilter(UrlFilterConfig.model_validate({name: [str(tmp_path / name)] for name in lists}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://bad.example/", ("url_domain", "bad.example")),
        ("https://www.BAD.example:8080/a", ("url_domain", "bad.example")),
        ("http://very.deep.bad.example/a?b=c", ("url_domain", "bad.example")),
        ("http://notbad.example/", None),
        ("http://mixed.org/", None),  # only one of its subdomains is listed
        ("http://a.sub.mixed.org/", ("url_domain", "sub.mixed.org")),
        ("http://xn--e1afmkfd.xn--p1ai/", ("url_domain", "xn--e1afmkfd.xn--p1ai")),  # RFC 3492 spelling of the third
        ("http://пример.рф/", ("url_domain", "xn--e1afmkfd.xn--p1ai")),
        ("https://forum.org/rude/", ("url_listed", "forum.org/rude")),
        ("http://news.com/gore", ("url_listed", "news.com/gore")),
        ("http://news.com/gore/2", None),
        ("http://ok.org/XXX/1", ("url_word", "xxx")),
        ("http://ok.org/%78xx", ("url_word", "xxx")),
        ("http://ok.org/xxxl-shirts", None),  # whole words only
        ("http://ok.org/hot-soup", None),  # one soft word
        ("http://ok.org/hot_hot", None),  # the same one twice
        ("http://ok.org/hot-singles", ("url_soft_words", "hot singles")),
        ("http://ok.org/my-big.bad-wordy", ("url_subword", "bigbadword")),
        ("", None),
        ("http://[::1", None),
        ("http://\ud800.org/", None),
        ("not a url at all", None),
    ],
)
def test_a_url_is_refused_by_the_first_rule_that_finds_something(url_filter, url, expected):
    assert url_filter.refuse(url) == expected


def test_without_lists_nothing_is_refused():
    assert UrlFilter(UrlFilterConfig()).refuse("http://bad.example/xxx") is None


def test_the_identity_is_the_content_of_the_lists_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "one").write_text("a.org\n")
    (tmp_path / "two").write_text("a.org\n")
    one, two = (UrlFilterConfig(domains=[str(tmp_path / name)]) for name in ("one", "two"))
    assert one.identity() == two.identity()
    (tmp_path / "two").write_text("b.org\n")
    assert one.identity() != two.identity()
    with pytest.raises(SourceUnavailable, match=r"extract\.url_filter\.domains: cannot read .*three"):
        UrlFilterConfig(domains=[str(tmp_path / "three")]).identity()


def test_gzipped_lists_are_read_and_damaged_ones_refused(tmp_path):
    (tmp_path / "list.gz").write_bytes(gzip.compress(b"a.org\n"))
    assert UrlFilter(UrlFilterConfig(domains=[str(tmp_path / "list.gz")])).refuse("http://a.org/") is not None
    (tmp_path / "list.gz").write_bytes(gzip.compress(b"a.org\n" * 1000)[:-12])
    with pytest.raises(ValueError, match=r"list\.gz is no list of lines in UTF-8 .* fetch it again"):
        UrlFilter(UrlFilterConfig(domains=[str(tmp_path / "list.gz")]))
