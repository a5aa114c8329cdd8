"""A new crawl against what earlier ones kept, without their texts."""

import random
import shutil
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from generated_pages import altered, prose

from gristmill.dedup.bands import jaccard, shingles
from gristmill.dedup.config import DedupConfig, KnownConfig, SignaturesConfig
from gristmill.dedup.known import run_known
from gristmill.dedup.minhash import run_dedup
from gristmill.dedup.signatures import Signatures, run_signatures
from gristmill.errors import SourceUnavailable
from gristmill.report import Report
from gristmill.store import ArtifactStore, BrokenArtifact, Recipe
from gristmill.text.words import word_hashes, words


def crawls() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two crawls of 120 pages. Half of the second has the first's URL, its words or nearly its words; both have
    duplicates of their own."""
    draws = random.Random(8)
    first, second = [], []
    for number in range(80):
        text = prose(number)
        first.append({"url": f"https://a.org/{number}", "text": " ".join(text)})
        if number % 2:
            near = altered(text, changes=number // 3, seed=number) + prose(5000 + number, draws.randrange(4))
            first.append({"url": f"https://mirror.org/{number}", "text": " ".join(near)})
    for number in range(80):
        text = prose(number if number < 40 else 500 + number)
        kind = number % 4
        url = f"https://a.org/{number}" if kind == 0 else f"https://b.org/{number}"
        changed = altered(text, changes=10, seed=900 + number) if kind > 1 else text
        second.append({"url": url, "text": " ".join([*changed, *prose(7000 + number, draws.randrange(3))])})
        if kind == 1:
            again = altered(changed, changes=8, seed=300 + number)
            second.append({"url": f"https://c.org/{number}", "text": " ".join(again)})
    for crawl, year in ((first, 2025), (second, 2026)):
        for number, row in enumerate(crawl):
            row |= {"doc_id": f"{year}-{number:03d}", "date": f"{year}-06-01T00:00:00Z"}
    return first, second


def test_a_second_crawl_leaves_what_both_at_once_leave_when_earlier_pages_are_the_better_ones(
    write_documents, deduplicate
):
    first, second = crawls()
    rule = {"keep": ["earliest", "length"], "url": "best"}
    at_once = deduplicate(write_documents("both", first + second, shards=3), **rule)
    earlier = deduplicate(write_documents("first", first, shards=2), **rule)
    later = deduplicate(write_documents("second", second, shards=2), against=[str(earlier.known)], **rule)
    assert earlier.survivors.keys() | later.survivors.keys() == at_once.survivors.keys()
    assert earlier.survivors.keys().isdisjoint(later.survivors)
    assert later.report.details["earlier_documents"] == len(earlier.survivors)
    assert later.report.details["dropped_for_earlier"] > 30


def test_by_the_usual_rule_every_difference_is_a_cluster_with_another_representative(write_documents, deduplicate):
    first, second = crawls()
    at_once = deduplicate(write_documents("both", first + second, shards=3))
    earlier = deduplicate(write_documents("first", first))
    later = deduplicate(write_documents("second", second), against=[str(earlier.known)])
    incremental = earlier.survivors.keys() | later.survivors.keys()
    dropped = earlier.verdicts | later.verdicts
    missing, extra = at_once.survivors.keys() - incremental, incremental - at_once.survivors.keys()
    assert missing
    assert extra
    # a page is missing for one that gave way at once, and too many for one that gave way in its own crawl
    assert {dropped[doc_id]["value"].rpartition(" ")[2] for doc_id in missing}.isdisjoint(at_once.survivors)
    assert {at_once.verdicts[doc_id]["value"].rpartition(" ")[2] for doc_id in extra}.isdisjoint(incremental)
    assert abs(len(missing) - len(extra)) <= 3


def test_the_earlier_crawl_is_not_needed_but_for_what_is_known(write_documents, deduplicate):
    first, second = crawls()
    earlier = deduplicate(write_documents("first", first))
    moved = earlier.out.parents[1] / "elsewhere"
    shutil.copytree(earlier.known, moved)
    documents = write_documents("second", second)
    expected = deduplicate(documents, against=[str(earlier.known)])
    for folder in (earlier.out, earlier.known, earlier.out.parent / "signatures"):
        shutil.rmtree(folder)
    result = deduplicate(documents, against=[str(moved)])
    assert result.survivors == expected.survivors
    assert DedupConfig(against=[str(moved)]).identity() == DedupConfig(against=[str(moved)]).identity()


def test_an_earlier_crawl_stands_in_the_key_by_its_content(write_documents, deduplicate, tmp_path):
    first, second = (deduplicate(write_documents(name, rows)) for name, rows in zip("ab", crawls(), strict=True))
    shutil.copytree(first.known, tmp_path / "copy")
    identity = DedupConfig(against=[str(first.known)]).identity()
    assert DedupConfig(against=[str(tmp_path / "copy")]).identity() == identity
    assert DedupConfig(against=[str(second.known)]).identity() != identity
    with pytest.raises(SourceUnavailable, match=r"dedup\.against: cannot read"):
        DedupConfig(against=[str(tmp_path / "nowhere")]).identity()


@pytest.mark.parametrize("part", ["bands.keys", "shingles", "facts"])
def test_what_is_known_is_not_believed_when_its_files_were_changed(write_documents, deduplicate, tmp_path, part):
    first, second = crawls()
    earlier = deduplicate(write_documents("first", first))
    store = ArtifactStore(tmp_path / "store")
    recipe = Recipe(kind="signatures", stage="known", version=1, config={}, inputs={})
    with store.building(recipe.address) as draft:
        shutil.copytree(earlier.known, draft, dirs_exist_ok=True)
        store.publish(draft, recipe, Report(rows_in=1, rows_out=1), label="known", run="first", seconds=1.0)
    known = store.path(recipe.address)
    documents = write_documents("second", second)
    expected = deduplicate(documents, against=[str(earlier.known)])
    assert deduplicate(documents, against=[str(known)]).survivors == expected.survivors
    damaged = known / f"part-00000.{part}.npy"
    np.save(damaged, np.zeros_like(np.load(damaged)))
    with pytest.raises(BrokenArtifact, match=rf"part-00000\.{part}\.npy was changed after it was published"):
        deduplicate(documents, against=[str(known)])


def test_a_page_that_resembles_only_a_dropped_page_is_no_duplicate(write_documents, deduplicate):
    text = prose(1)
    copy = [*prose(2, 12), *text[12:]]
    copy_of_copy = [*copy[:24], *prose(3, 12), *copy[36:]]
    rows = [{"doc_id": "best", "text": " ".join([*text, "end"])}, {"doc_id": "copy", "text": " ".join(copy)}]
    earlier = deduplicate(write_documents("first", rows))
    assert list(earlier.survivors) == ["best"]
    sets = [shingles(word_hashes(words(" ".join(each))), 5) for each in (copy, copy_of_copy, text)]
    assert jaccard(sets[0], sets[1]) >= 0.8 > jaccard(sets[1], sets[2])
    documents = write_documents("second", [{"doc_id": "new", "url": "https://b.org", "text": " ".join(copy_of_copy)}])
    assert list(deduplicate(documents, against=[str(earlier.known)]).survivors) == ["new"]


def test_several_earlier_crawls_all_count_and_none_is_decided_anew(write_documents, deduplicate):
    text = " ".join(prose(4))
    rows = {
        name: {"doc_id": name, "url": f"https://{name}.org", "text": text} for name in ("one", "two", "new", "zero")
    }
    known = [str(deduplicate(write_documents(name, [rows[name]])).known) for name in ("one", "two")]
    worse, better = write_documents("worse", [rows["zero"]]), write_documents("better", [rows["new"]])
    result = deduplicate(worse, against=known, earlier="by_rule")
    assert result.verdicts["zero"]["value"] == "same as earlier one"
    assert pq.read_table(result.out / "superseded.parquet").num_rows == 0
    result = deduplicate(better, against=known, earlier="by_rule")
    assert list(result.survivors) == ["new"]
    assert pq.read_table(result.out / "superseded.parquet").column("doc_id").to_pylist() == ["one", "two"]


def test_by_rule_a_better_page_of_the_new_crawl_stays_and_the_earlier_one_is_listed(write_documents, deduplicate):
    text = prose(6)
    earlier = deduplicate(write_documents("first", [{"doc_id": "short", "text": " ".join(text)}]))
    documents = write_documents("second", [{"doc_id": "long", "url": "https://b.org", "text": " ".join([*text, "x"])}])
    assert not deduplicate(documents, against=[str(earlier.known)]).survivors
    by_rule = deduplicate(documents, against=[str(earlier.known)], earlier="by_rule")
    assert {doc_id: row["cluster_size"] for doc_id, row in by_rule.survivors.items()} == {"long": 1}
    assert pq.read_table(by_rule.out / "superseded.parquet").to_pylist() == [
        {"doc_id": "short", "rule": "near_duplicate", "kept": "long"}
    ]


def test_known_are_the_signatures_of_the_survivors_in_joined_shards(write_documents, deduplicate, tmp_path):
    first, _ = crawls()
    result = deduplicate(write_documents("first", first, shards=5))
    known = Signatures.open([result.known])
    (doc_ids,) = known.facts("doc_id")
    assert [doc_id.decode() for doc_id in doc_ids] == list(result.survivors)
    assert len(known.shards) == 1  # up to 100 documents a shard
    (tmp_path / "again").mkdir()
    run_signatures(result.out, tmp_path / "again", SignaturesConfig())
    again = Signatures.open([tmp_path / "again"])
    assert len(again.shards) == 5
    for kind in ("bands.keys", "shingles"):
        whole = read_all(known, kind)
        assert sorted(whole) == sorted(read_all(again, kind))
        assert len(whole) > 1000
    urls = pq.read_table(result.known / "urls/part-00000.parquet").to_pylist()
    assert urls == [{"doc_id": doc_id, "url": row["url"]} for doc_id, row in result.survivors.items()]
    small = tmp_path / "small"
    small.mkdir()
    run_known(result.out, result.out.parent / "signatures", small, KnownConfig(documents_per_shard=1))
    assert len(Signatures.open([small]).shards) == 5  # a shard is not cut


def read_all(signatures: Signatures, kind: str) -> list[int]:
    import numpy as np

    files = [shard.stem.with_name(f"{shard.stem.name}.{kind}.npy") for shard in signatures.shards]
    return np.concatenate([np.load(file) for file in files]).tolist()


def test_signatures_of_other_parameters_are_refused(write_documents, deduplicate, tmp_path):
    earlier = deduplicate(write_documents("first", [{"text": "a b c d e f"}]))
    documents = write_documents("second", [{"text": "a b c d e f"}])
    (tmp_path / "other").mkdir()
    run_signatures(documents, tmp_path / "other", SignaturesConfig(bands=16))
    with pytest.raises(ValueError, match=r"bands=16 \(elsewhere 32\)"):
        run_dedup(documents, tmp_path / "other", tmp_path / "out", DedupConfig(against=[str(earlier.known)]))
