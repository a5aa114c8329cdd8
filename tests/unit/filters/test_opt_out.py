"""Lists of those who asked to be left out."""

import pytest

from gristmill.errors import SourceUnavailable
from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.filter import run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.filters.opt_out import OptOut, OptOutConfig
from gristmill.forget import Forgotten, add_to_list
from gristmill.text.documents import read_documents, read_shard
from gristmill.tokens.mix import run_mix
from gristmill.tokens.mix_config import MixConfig

OFF = (
    dict.fromkeys(Thresholds.model_fields)
    | {"by_language": dict.fromkeys(shipped_thresholds())}
    | {"poisoning": {"alarm": False}}
)


def listed(*lines: str) -> OptOut:
    return OptOut.parse((f"list:{number}", line) for number, line in enumerate(lines, start=1))


def refuse(opt_out: OptOut, url: str, text_hash: str | None = None) -> tuple[str, str, str] | None:
    return opt_out.refuse({"url": url, "text_hash": text_hash})


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://www.EXAMPLE.org/a?b",
        "https://deep.sub.example.org:8080/x",
        "https://example.org./x",
        "example.org/no-scheme",
    ],
)
def test_a_listed_domain_stands_for_all_its_pages_and_subdomains(url):
    found = refuse(listed("domain:Example.org"), url)
    assert found is not None
    assert (found[0], found[2]) == ("opt_out:domain", "domain:example.org")


@pytest.mark.parametrize(
    "url", ["https://notexample.org", "https://example.org.evil.net/", "https://org/", "", "example"]
)
def test_a_listed_domain_does_not_stand_for_names_that_look_like_it(url):
    assert refuse(listed("domain:example.org"), url) is None


def test_international_names_match_in_either_spelling():
    for entry in ("domain:münchen.de", "domain:xn--mnchen-3ya.de"):
        for url in ("https://münchen.de/a", "http://www.xn--mnchen-3ya.de/b"):
            assert refuse(listed(entry), url) == (
                "opt_out:domain",
                "xn--mnchen-3ya.de",
                "domain:xn--mnchen-3ya.de",
            )


@pytest.mark.parametrize(
    ("entry", "url", "matches"),
    [
        ("https://www.a.org/~x/?utm_source=mail#top", "http://a.org/%7Ex", True),
        ("a.org/x", "https://a.org/x/", True),
        ("https://a.org/x", "https://a.org/x/y", False),
        ("https://a.org/x", "https://b.a.org/x", False),
        ("https://a.org/X", "https://a.org/x", False),
        ("https://a.org/x*", "https://a.org/xyz/1", True),
        ("https://a.org/x/*", "https://a.org/xyz", False),
        ("https://a.org/x/*", "https://a.org/x", True),
        ("https://a.org/*", "https://www.a.org", True),
        ("https://a.org/*/private", "https://a.org/u/anna/private", True),
        ("https://a.org/?id=[1]&*", "https://a.org/?id=[1]&p=2", True),
        ("https://a.org/?id=[1]&*", "https://a.org/?id=1&p=2", False),
        ("https://a.org/page?*", "https://a.org/page?a=1&b=2", True),
        ("https://a.org/page?*", "https://a.org/page", False),
        ("https://пример.рф/путь/*", "http://xn--e1afmkfd.xn--p1ai/%D0%BF%D1%83%D1%82%D1%8C/1", True),
    ],
)
def test_a_listed_url_stands_for_every_spelling_and_a_star_for_anything(entry, url, matches):
    assert (refuse(listed(f"url:{entry}"), url) is not None) == matches


def test_a_listed_hash_stands_for_every_copy_of_the_text():
    opt_out = listed("hash:0123456789ABCDEF")
    assert refuse(opt_out, "https://any.org", "0123456789abcdef") == (
        "opt_out:hash",
        "0123456789abcdef",
        "hash:0123456789abcdef",
    )
    assert refuse(opt_out, "https://any.org", "f" * 16) is None


def test_comments_order_and_repetitions_change_neither_entries_nor_the_key(tmp_path):
    (tmp_path / "a.txt").write_text("# asked in May\ndomain:a.org # 2026-05-01, a letter\n\nurl:https://b.org/x#y\n")
    (tmp_path / "b.txt").write_text("url:https://b.org/x\ndomain:A.org\ndomain:a.org\n")
    (tmp_path / "c.txt").write_text("domain:a.org\n")
    identities = [
        OptOutConfig(lists=[str(tmp_path / name)]).identity(setting="s") for name in ("a.txt", "b.txt", "c.txt")
    ]
    assert identities[0] == identities[1] != identities[2]
    (tmp_path / "empty.txt").write_text("# nobody yet\n")
    assert OptOutConfig(lists=[str(tmp_path / "empty.txt")]).identity(setting="s") == OptOutConfig().identity(
        setting="s"
    )
    assert FilterConfig(opt_out=OptOutConfig(lists=[str(tmp_path / "c.txt")])).identity() != FilterConfig().identity()
    assert MixConfig(opt_out=OptOutConfig(lists=[str(tmp_path / "c.txt")])).identity() != MixConfig().identity()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("example.org", r"list:1: 'example.org' is no entry .* domain:example.org"),
        ("domain:https://example.org/x", r"is no domain .* url:https"),
        ("domain:com", "is no domain"),
        ("hash:12", "16 hex digits"),
        ("url:https://*.example.org/", "names no host"),
    ],
)
def test_a_line_that_is_no_entry_is_named_with_what_was_expected(line, message):
    with pytest.raises(ValueError, match=message):
        listed(line)


def test_letters_that_idna_2003_replaced_mean_their_own_domain():
    opt_out = listed("domain:straße.de")
    own = opt_out.refuse({"url": "https://xn--strae-oqa.de/x"})  # IDNA 2008 (RFC 5891)
    assert own == ("opt_out:domain", "xn--strae-oqa.de", "domain:xn--strae-oqa.de")
    assert opt_out.refuse({"url": "https://strasse.de/x"}) is None


def test_a_list_that_changed_is_read_again(tmp_path):
    path = tmp_path / "list.txt"
    config = OptOutConfig(lists=[str(path)])
    for domain in ("a.org", "bb.org"):
        path.write_text(f"domain:{domain}")
        assert OptOut.read(config, setting="s").domains == {domain}


def test_a_list_that_is_missing_is_no_empty_list(tmp_path):
    config = FilterConfig(opt_out=OptOutConfig(lists=[str(tmp_path / "none.txt")]))
    with pytest.raises(SourceUnavailable, match=r"filter\.opt_out\.lists: cannot read .*none\.txt"):
        config.identity()


def test_what_forget_appends_is_read_back(tmp_path):
    path = tmp_path / "opt_out.txt"
    forgotten = Forgotten.parse(["a.org"], ["https://b.org/x"], ["0123456789abcdef"])
    add_to_list(path, forgotten.entries, note="2026-11-02, by letter # 7")
    opt_out = OptOut.read(OptOutConfig(lists=[str(path)]), setting="s")
    assert (opt_out.domains, opt_out.urls, opt_out.hashes) == ({"a.org"}, {"b.org/x"}, {"0123456789abcdef"})


def test_filter_and_mix_drop_listed_pages_with_the_entry_in_their_verdicts(write_documents, tmp_path):
    pages = [{"url": f"https://{name}.org/page", "text": "a text of some words"} for name in ("a", "b", "c")]
    pages[2]["text_hash"] = "0123456789abcdef"
    documents = write_documents("documents", pages, shards=2)
    (tmp_path / "list.txt").write_text("domain:a.org\nhash:0123456789abcdef\n")
    lists = {"opt_out": {"lists": [str(tmp_path / "list.txt")]}}
    (tmp_path / "mix").mkdir()
    reports = {
        "filter": run_filter(documents, tmp_path / "filter", FilterConfig.model_validate(OFF | lists)),
        "mix": run_mix(documents, tmp_path / "mix", MixConfig.model_validate(lists | {"max_documents": 1})),
    }
    for stage, report in reports.items():
        assert report.dropped == {"opt_out:domain": 1, "opt_out:hash": 1}
        assert [row["url"] for row in read_documents(tmp_path / stage)] == ["https://b.org/page"]
        rows = {row["url"]: row for row in read_shard(tmp_path / stage / "verdicts.parquet")}
        first = rows["https://a.org/page"]
        assert (first["stage"], first["rule"], first["value"], first["threshold"]) == (
            stage,
            "opt_out:domain",
            "a.org",
            "domain:a.org",
        )
