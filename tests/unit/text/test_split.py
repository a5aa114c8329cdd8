"""The stage `split`: every page in one split, by its URL alone."""

from itertools import chain

import pytest

from gristmill.crawl.urls import canonical_url
from gristmill.text.config import SplitConfig
from gristmill.text.documents import read_documents, read_shard
from gristmill.text.split import run_split, split_of
from gristmill.text.words import text_hash

PAGES = [{"url": f"https://example.org/{number}", "text": f"Page {number}."} for number in range(2000)]
SPLITS = ("train", "validation", "held_out")


def test_every_page_is_in_the_split_of_its_url_and_the_shares_hold(write_documents, tmp_path):
    config = SplitConfig(validation=0.05, held_out=0.2)
    (tmp_path / "out").mkdir()
    report = run_split(write_documents("documents", PAGES, shards=3), tmp_path / "out", config)
    urls = {split: [row["url"] for row in read_documents(tmp_path / "out" / split)] for split in SPLITS}
    assert sorted(chain.from_iterable(urls.values())) == sorted(page["url"] for page in PAGES)
    assert all(split_of(url, config) == split for split in SPLITS for url in urls[split])
    # five standard deviations of a binomial share
    assert len(urls["held_out"]) == pytest.approx(400, abs=5 * (2000 * 0.2 * 0.8) ** 0.5)
    assert len(urls["validation"]) == pytest.approx(100, abs=5 * (2000 * 0.05 * 0.95) ** 0.5)
    assert report.metrics["train_documents"] == len(urls["train"])
    verdicts = {row["url"]: (row["decision"], row["value"]) for row in read_shard(tmp_path / "out/verdicts.parquet")}
    assert verdicts == {url: ("kept", split) for split in SPLITS for url in urls[split]}


def test_spellings_of_one_page_share_a_split():
    config = SplitConfig(validation=0.3, held_out=0.3)
    for number in range(50):
        spellings = [f"http://www.example.org/{number}/", f"https://Example.org/{number}#top"]
        assert {split_of(url, config) for url in spellings} == {split_of(f"https://example.org/{number}", config)}


def test_the_index_names_the_pages_that_do_not_train(write_documents, tmp_path):
    config = SplitConfig(validation=0.05, held_out=0.2)
    (tmp_path / "out").mkdir()
    run_split(write_documents("documents", PAGES), tmp_path / "out", config)
    index = {row["canonical_url"]: row for row in read_shard(tmp_path / "out/held_out_index.parquet")}
    expected = {canonical_url(page["url"]) for page in PAGES if split_of(page["url"], config) != "train"}
    assert set(index) == expected
    for row in read_documents(tmp_path / "out/validation"):
        entry = index[canonical_url(row["url"])]
        assert (entry["doc_id"], entry["split"], entry["text_hash"]) == (
            row["doc_id"],
            "validation",
            text_hash(row["text"]),
        )


def test_a_split_without_pages_says_what_to_change(write_documents, tmp_path):
    documents = write_documents("documents", PAGES[:3])
    with pytest.raises(ValueError, match=r"none of 3 pages fell to validation with split.validation=0.0"):
        run_split(documents, tmp_path / "out", SplitConfig(validation=0, held_out=0))


def test_a_folder_without_documents_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no part-\*.parquet in .*nothing"):
        run_split(tmp_path / "nothing", tmp_path / "out", SplitConfig())
