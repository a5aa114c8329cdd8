"""The stage `mix`."""

from collections import Counter

import pytest

from gristmill.text.documents import read_documents, read_shard
from gristmill.tokens.config import MixConfig
from gristmill.tokens.mix import run_mix

PAGES = [
    {"url": f"https://example.org/{number}", "source": "books" if number % 4 == 0 else "web", "text": "x" * 100}
    for number in range(4000)
]


def run(documents, out, **config):
    """URLs kept, and the report."""
    out.mkdir()
    report = run_mix(documents, out, MixConfig.model_validate(config))
    return {row["url"]: row["source"] for row in read_documents(out)}, report


def test_one_source_passes_whole(write_documents, tmp_path):
    pages = [page | {"source": "web"} for page in PAGES[:50]]
    kept, report = run(write_documents("documents", pages), tmp_path / "out", weights={"web": 0.3, "absent": 2})
    assert len(kept) == report.rows_out == 50
    assert report.dropped == {}
    assert report.details["kept"] == [{"source": "web", "language": "en", "documents": 50, "chars": 5000}]


def test_pages_go_on_in_proportion_to_their_weight_and_the_others_have_verdicts(write_documents, tmp_path):
    kept, report = run(write_documents("documents", PAGES), tmp_path / "out", weights={"web": 0.5})
    by_source = Counter(kept.values())
    assert by_source["books"] == 1000
    assert by_source["web"] == pytest.approx(1500, abs=5 * (3000 * 0.25) ** 0.5)
    rows = list(read_shard(tmp_path / "out/verdicts.parquet"))
    verdicts = [row for row in rows if row["decision"] == "dropped"]
    assert {row["url"] for row in rows if row["decision"] == "kept"} == set(kept)
    assert {row["rule"] for row in verdicts} == {"mix"}
    assert {row["url"] for row in verdicts} | set(kept) == {page["url"] for page in PAGES}
    assert report.dropped == {"mix": len(verdicts)} == {"mix": 4000 - len(kept)}


def test_a_budget_keeps_the_proportions_and_a_larger_one_only_adds_pages(write_documents, tmp_path):
    documents = write_documents("documents", PAGES)
    small, _ = run(documents, tmp_path / "small", weights={"web": 0.5}, max_documents=500)
    large, _ = run(documents, tmp_path / "large", weights={"web": 0.5}, max_chars=100_049)
    assert (len(small), len(large)) == (500, 1000)
    assert set(small) < set(large)
    # 1000 books at full rate, 3000 web pages at half: two in five are books
    assert Counter(large.values())["books"] == pytest.approx(400, abs=5 * (1000 * 0.24) ** 0.5)


def test_the_sample_depends_on_the_seed_but_not_on_order_or_sharding(write_documents, tmp_path):
    one, _ = run(write_documents("one", PAGES), tmp_path / "out1", max_documents=300)
    four, _ = run(write_documents("four", PAGES[::-1], shards=4), tmp_path / "out4", max_documents=300)
    other, _ = run(tmp_path / "one", tmp_path / "other", max_documents=300, seed=1)
    assert one == four
    assert set(one) != set(other)


def test_a_source_of_weight_zero_is_shut_out_but_not_all_of_them(write_documents, tmp_path):
    documents = write_documents("documents", PAGES)
    kept, _ = run(documents, tmp_path / "out", weights={"web": 0})
    assert set(kept.values()) == {"books"}
    with pytest.raises(ValueError, match=r"shut out all sources there are \(books, web\)"):
        run(documents, tmp_path / "none", weights={"web": 0, "books": 0})


def test_a_budget_smaller_than_any_page_is_an_error(write_documents, tmp_path):
    with pytest.raises(ValueError, match=r"let none of 4000 documents through"):
        run(write_documents("documents", PAGES), tmp_path / "out", max_chars=10)
