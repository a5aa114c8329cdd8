"""The cap on the share of one domain."""

from collections import Counter

import pytest

from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.domains import RegisteredDomains, domain_caps
from gristmill.filters.filter import run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.text.documents import read_documents, read_shard

OFF = (
    dict.fromkeys(Thresholds.model_fields)
    | {"by_language": dict.fromkeys(shipped_thresholds())}
    | {"poisoning": {"alarm": False}}
)


def pages(**counts: int) -> list[dict]:
    return [
        {"url": f"https://{name}.org/{number}", "doc_id": f"{place:08x}{number:08x}"}
        for place, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def kept(rows: list[dict], *, share: float, floor: int = 1) -> Counter:
    caps, domains = domain_caps(lambda: rows, share=share, floor=floor), RegisteredDomains()
    return Counter(domains.of(row["url"]) for row in rows if not caps.refuse(row, domains))


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.bbc.co.uk/news", "bbc.co.uk"),
        ("http://anna.github.io/", "anna.github.io"),
        ("https://a.b.example.org:8080/x", "example.org"),
        ("http://93.184.216.34/x", "93.184.216.34"),
        ("http://localhost/x", "localhost"),
        ("http://[broken", ""),
        (None, ""),
    ],
)
def test_the_registered_domain_of_a_url(url, domain):
    assert RegisteredDomains().of(url) == domain


def test_a_domain_has_at_most_its_share_of_what_is_kept():
    # of 100 one-page domains and a large one: n / (100 + n) <= 0.2, so n = 25
    small = {f"s{number}": 1 for number in range(100)}
    found = kept(pages(large=1000, **small), share=0.2)
    assert found["large.org"] == 25
    assert found.total() == 125


def test_domains_within_their_share_lose_nothing():
    rows = pages(a=30, b=40, c=30)
    assert kept(rows, share=0.4).total() == 100
    assert kept(rows, share=0.39).total() < 100


def test_a_small_corpus_or_one_of_few_sites_keeps_the_floor_of_each():
    assert kept(pages(only=50), share=0.01, floor=1000) == {"only.org": 50}
    assert kept(pages(a=50, b=5), share=0.01, floor=20) == {"a.org": 20, "b.org": 5}


def test_which_documents_stay_depends_neither_on_order_nor_on_shards(write_documents, tmp_path):
    rows = [page | {"text": "some words"} for page in pages(large=40, a=5, b=5)]
    config = FilterConfig.model_validate(OFF | {"max_domain_share": 0.5, "domain_floor": 1})
    found = []
    for name, ordered, shards in (("one", rows, 1), ("many", rows[::-1], 3)):
        report = run_filter(write_documents(name, ordered, shards=shards), tmp_path / f"{name}-out", config)
        found.append({row["doc_id"] for row in read_documents(tmp_path / f"{name}-out")})
        assert report.dropped == {"max_domain_share": 30}
    assert found[0] == found[1]
    assert len(found[0]) == 20
    dropped = [row for row in read_shard(tmp_path / "one-out/verdicts.parquet") if row["decision"] == "dropped"]
    assert {(row["rule"], row["value"], row["threshold"]) for row in dropped} == {("max_domain_share", "0.8000", "0.5")}
