"""The stages `signatures` and `dedup` on documents: which pages stay, and why."""

import random
from collections import Counter
from itertools import combinations

import pyarrow.parquet as pq
import pytest
from generated_pages import altered, chain, corpus, prose

from gristmill.dedup import minhash, near, repeated_lines
from gristmill.dedup.bands import jaccard, shingles
from gristmill.dedup.config import DedupConfig
from gristmill.dedup.minhash import run_dedup
from gristmill.text.words import word_hashes, words


def shingle_set(text: str):
    return shingles(word_hashes(words(text)), 5)


def decisions(result) -> tuple[dict, dict]:
    return (
        {doc_id: row["cluster_size"] for doc_id, row in result.survivors.items()},
        {doc_id: (row["rule"], row["value"]) for doc_id, row in result.verdicts.items()},
    )


def test_every_page_survives_or_has_a_verdict_and_all_columns_travel_on(write_documents, deduplicate):
    documents = write_documents("documents", corpus(), shards=3)
    result = deduplicate(documents)
    assert len(result.survivors) + len(result.verdicts) == 123
    assert Counter(row["rule"] for row in result.verdicts.values()) == result.report.dropped
    assert set(result.report.dropped) == {"duplicate_url", "duplicate_text", "near_duplicate"}
    assert sum(row["cluster_size"] for row in result.survivors.values()) == 123
    schema = pq.read_schema(result.out / "part-00000.parquet")
    assert schema.names == [*pq.read_schema(documents / "part-00000.parquet").names, "cluster_size"]
    assert str(schema.field("cluster_size").type) == "int32"


def test_the_best_of_all_similar_pages_stays_as_brute_force_over_all_pairs_says(write_documents, deduplicate):
    draws = random.Random(2)
    pages = [prose(number) for number in range(15)]
    pages += [altered(draws.choice(pages), changes=draws.randrange(25), seed=100 + number) for number in range(100)]
    pages += [text for number in range(3) for text in chain(6, seed=50 + number)]
    rows = [{"text": " ".join(page[: draws.randrange(185, 201)])} for page in pages]
    result = deduplicate(write_documents("documents", rows, shards=4))

    # one by one from best to worst: a page stays unless it resembles one that stays, among those connected to it
    everything = {row["doc_id"]: row for row in [*result.survivors.values(), *result.verdicts.values()]}
    texts = {doc_id: rows[row["warc_offset"]]["text"] for doc_id, row in everything.items()}
    best_first = sorted(texts, key=lambda doc_id: (-len(texts[doc_id]), doc_id))
    sets = {doc_id: shingle_set(text) for doc_id, text in texts.items()}
    similarity = {frozenset(pair): jaccard(sets[pair[0]], sets[pair[1]]) for pair in combinations(texts, 2)}
    kept: list[str] = []
    instead: dict[str, str] = {}
    for doc_id in best_first:
        near_ones = [other for other in kept if similarity[frozenset((doc_id, other))] >= 0.8]
        if near_ones:
            instead[doc_id] = near_ones[0]
        else:
            kept.append(doc_id)
    assert sorted(result.survivors) == sorted(kept)
    assert len(instead) > 40
    for doc_id, row in result.verdicts.items():
        assert row["rule"] in ("near_duplicate", "duplicate_text")
        measured, _, keeper = row["value"].partition(" with ")
        if row["rule"] == "near_duplicate":
            assert keeper == instead[doc_id]
            assert float(measured) == pytest.approx(similarity[frozenset((doc_id, keeper))], abs=5e-4)


def test_a_page_that_only_a_chain_connects_stays(write_documents, deduplicate):
    texts = chain(5)
    rows = [{"doc_id": str(number), "text": " ".join(text)} for number, text in enumerate(texts)]
    steps = [jaccard(shingle_set(rows[a]["text"]), shingle_set(rows[b]["text"])) for a, b in [(0, 1), (0, 2)]]
    assert steps[0] >= 0.8 > steps[1]
    result = deduplicate(write_documents("documents", rows), keep=["latest"])
    assert {doc_id: row["cluster_size"] for doc_id, row in result.survivors.items()} == {"0": 2, "2": 2, "4": 1}
    assert result.report.details["clusters"] == 1


def test_the_best_page_is_chosen_by_quality_then_length_then_date_then_id(write_documents, deduplicate):
    text = prose(1)
    rows = [
        {"doc_id": "c", "text": " ".join(text), "date": "2026-01-01T00:00:00Z"},
        {"doc_id": "b", "text": " ".join(text), "date": "2026-01-01T00:00:00Z"},
        {"doc_id": "old", "text": " ".join(text), "date": "2020-01-01T00:00:00Z"},
        {"doc_id": "undated", "text": " ".join(text), "date": None},
        {"doc_id": "long", "text": " ".join([*text, "more"]), "date": "2020-01-01T00:00:00Z"},
        {"doc_id": "fine", "text": " ".join(text), "quality": 0.9, "date": "2019-01-01T00:00:00Z"},
        {"doc_id": "unmeasured", "text": " ".join([*text, "more", "and", "more"]), "quality": None},
    ]
    documents = write_documents("documents", rows)
    by_quality = deduplicate(documents)
    assert {doc_id: row["cluster_size"] for doc_id, row in by_quality.survivors.items()} == {"fine": 7}
    assert list(deduplicate(documents, keep=["length"]).survivors) == ["unmeasured"]
    latest = deduplicate(documents, keep=["latest"])
    assert list(latest.survivors) == ["b"]
    assert latest.verdicts["undated"]["value"] == "same as b"
    assert latest.verdicts["long"]["value"].endswith(" with b")
    assert list(deduplicate(documents, keep=["earliest"]).survivors) == ["fine"]


def test_a_keep_rule_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="one of latest and earliest"):
        DedupConfig(keep=["latest", "earliest"])


def test_of_two_captures_of_one_url_the_latest_or_the_best_stays(write_documents, deduplicate):
    captures = [("https://www.a.org/x/", "2020", "old", 90), ("http://a.org/x#part", "2024", "new", 30)]
    rows = [
        {"doc_id": doc_id, "url": url, "text": " ".join(prose(number, length)), "date": f"{year}-01-01T00:00:00Z"}
        for number, (url, year, doc_id, length) in enumerate(captures)
    ]
    documents = write_documents("documents", rows)
    assert list(deduplicate(documents).survivors) == ["new"]
    best = deduplicate(documents, url="best")
    assert list(best.survivors) == ["old"]
    assert best.verdicts["new"]["value"] == "same as old"


def test_a_page_dropped_for_one_that_is_dropped_too_counts_for_the_one_that_stays(write_documents, deduplicate):
    text = prose(5)
    rows = [
        {"doc_id": "first", "url": "https://a.org/", "text": " ".join(prose(6)), "date": "2020-01-01T00:00:00Z"},
        {"doc_id": "again", "url": "https://a.org/", "text": " ".join(text), "date": "2021-01-01T00:00:00Z"},
        {"doc_id": "copy", "url": "https://b.org/", "text": " ".join(text), "date": "2022-01-01T00:00:00Z"},
        {"doc_id": "longer", "url": "https://c.org/", "text": " ".join([*text, "more"])},
    ]
    result = deduplicate(write_documents("documents", rows))
    assert {doc_id: row["cluster_size"] for doc_id, row in result.survivors.items()} == {"longer": 4}
    assert result.verdicts["first"]["value"] == "same as again"
    assert result.verdicts["again"]["value"] == "same as copy"


@pytest.mark.parametrize("within", [["language"], ["source"], ["language", "source"]])
def test_a_scope_decides_as_if_each_part_were_alone(write_documents, deduplicate, within):
    draws = random.Random(3)
    rows = corpus()
    for number, row in enumerate(rows):
        row |= {"doc_id": f"{number:03d}", "language": draws.choice("ab"), "source": draws.choice("xyz")}
    together = deduplicate(write_documents("documents", rows, shards=2), within=within)
    parts = {tuple(row[name] for name in within) for row in rows}
    alone: dict = {}
    for part in sorted(parts):
        of_part = [row for row in rows if tuple(row[name] for name in within) == part]
        alone |= decisions(deduplicate(write_documents("-".join(part), of_part)))[0]
    assert decisions(together)[0] == alone
    assert len(alone) > len(deduplicate(write_documents("all", rows)).survivors)


def test_the_result_depends_neither_on_order_nor_on_sharding_nor_on_memory(write_documents, deduplicate, monkeypatch):
    rows = corpus()
    shuffled = random.Random(1).sample(rows, len(rows))
    first = deduplicate(write_documents("one", rows, shards=1))
    assert decisions(deduplicate(write_documents("five", shuffled, shards=5))) == decisions(first)
    monkeypatch.setattr(near, "_BYTES_PER_KEY", 1 << 20)  # 256 keys a range
    monkeypatch.setattr(near, "_MEMBERS_AT_ONCE", 3)
    small = deduplicate(write_documents("small", shuffled, shards=5))
    assert len(list((small.out / ".done/near").glob("edges-*.npy"))) == 16
    assert decisions(small) == decisions(first)


def test_two_workers_write_the_same_bytes_as_one(write_documents, deduplicate):
    documents = write_documents("documents", corpus(), shards=2)
    one, two = (deduplicate(documents, workers=workers, repeated_lines={"max_documents": 1}) for workers in (1, 2))
    files = [path.relative_to(one.out.parent) for path in one.out.parent.rglob("*") if ".done" not in path.parts]
    compared = [file for file in files if (one.out.parent / file).is_file()]
    assert len(compared) > 12
    for file in compared:
        assert (one.out.parent / file).read_bytes() == (two.out.parent / file).read_bytes(), file


def test_memory_is_no_part_of_the_key():
    assert DedupConfig(memory_mb=64).identity() == DedupConfig().identity()
    assert DedupConfig(threshold=0.9).identity() != DedupConfig().identity()


def test_signatures_of_other_documents_are_refused(write_documents, deduplicate, tmp_path):
    deduplicate(write_documents("one", corpus()))
    other = write_documents("other", corpus()[:50])
    with pytest.raises(ValueError, match="was not made from"):
        run_dedup(other, tmp_path / "run0/signatures", tmp_path / "out", DedupConfig())


def test_a_cluster_that_swallows_a_source_raises_an_alarm_and_keeps_what_is_not_nearly_identical(
    write_documents, deduplicate
):
    template = prose(9)
    # similarity to the longest: 16 pages of about 0.85, 4 of about 0.97
    pages = [[*template, "the", "longest"]]
    pages += [altered(template, changes=12, seed=200 + number) for number in range(16)]
    pages += [[*template[:-1], f"end{number}"] for number in range(4)]
    rows = [{"doc_id": f"{number:02d}", "text": " ".join(page), "source": "shop"} for number, page in enumerate(pages)]
    rows += [{"text": " ".join(prose(300 + number)), "source": "shop"} for number in range(21)]
    documents = write_documents("documents", rows)
    similarities = [jaccard(shingle_set(rows[0]["text"]), shingle_set(row["text"])) for row in rows[1:21]]
    assert all(0.8 <= each < 0.95 for each in similarities[:16])
    assert all(each >= 0.95 for each in similarities[16:])

    quiet = deduplicate(documents, cap={"documents": 21, "source_share": 0.5})
    assert quiet.report.details["alarms"] == [
        {"kept": "00", "source": "shop", "documents": 21, "source_share": 0.5, "spared": 0}
    ]
    assert len(quiet.verdicts) == 20  # twenty are dropped for one page: below the cap
    capped = deduplicate(documents, cap={"documents": 20, "source_share": 0.3})
    assert sorted(capped.verdicts) == [f"{number:02d}" for number in range(17, 21)]
    assert capped.report.details["alarms"] == [
        {"kept": "00", "source": "shop", "documents": 21, "source_share": 0.5, "spared": 16}
    ]
    assert deduplicate(documents, cap={"documents": 22}).report.details["alarms"] == []
    assert deduplicate(documents, cap={"documents": 20, "source_share": 0.6}).report.details["alarms"] == []


def test_max_leaders_bounds_the_comparisons_and_says_what_was_left_out(write_documents, deduplicate):
    rows = [{"doc_id": f"{number:02d}", "text": " ".join(text)} for number, text in enumerate(chain(30))]
    documents = write_documents("documents", rows)
    full, bounded = deduplicate(documents, keep=["latest"]), deduplicate(documents, keep=["latest"], max_leaders=1)
    assert full.report.details["pages_beyond_max_leaders"] == 0
    assert bounded.report.details["pages_beyond_max_leaders"] > 0
    assert bounded.report.details["pairs_compared"] < full.report.details["pairs_compared"]
    assert set(full.survivors) < set(bounded.survivors)
    assert list(bounded.verdicts) == ["01"]


def test_a_killed_stage_goes_on_to_the_same_bytes(write_documents, deduplicate, monkeypatch, tmp_path):
    documents = write_documents("documents", corpus(), shards=4)
    whole = deduplicate(documents, repeated_lines={"max_documents": 1})
    out = tmp_path / "killed"
    config = DedupConfig.model_validate({"repeated_lines": {"max_documents": 1}})

    def dedup() -> None:
        run_dedup(documents, whole.out.parent / "signatures", out, config)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for module, step in ((near, "_decide"), (repeated_lines, "_merge_range"), (minhash, "join_verdicts")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                dedup()
    dedup()
    for name in ("part-00000.parquet", "part-00003.parquet", "verdicts.parquet"):
        assert (out / name).read_bytes() == (whole.out / name).read_bytes()
