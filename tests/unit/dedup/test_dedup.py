"""The stage `dedup` on documents."""

import random
from pathlib import Path

import pyarrow.parquet as pq

from gristmill.dedup.bands import jaccard, shingles
from gristmill.dedup.config import DedupConfig
from gristmill.dedup.minhash import run_dedup
from gristmill.text.documents import read_documents, read_shard
from gristmill.text.words import word_hashes, words

LEXICON = [f"word{number}" for number in range(3000)]


def prose(seed: int, length: int = 200) -> list[str]:
    return random.Random(seed).choices(LEXICON, k=length)


def altered(text: list[str], *, changes: int, seed: int) -> list[str]:
    """Runs of changed words, so that 5-gram similarity falls slowly."""
    changed = list(text)
    start = random.Random(seed).randrange(len(text) - changes)
    changed[start : start + changes] = prose(seed + 1, changes)
    return changed


def corpus() -> list[dict]:
    """120 pages: originals, near copies, exact copies, recaptures."""
    rows = []
    for number in range(40):
        original = prose(number)
        rows += [
            {"url": f"https://a.org/{number}", "text": " ".join(original)},
            {"url": f"https://b.org/{number}", "text": " ".join(altered(original, changes=number, seed=number))},
            {"url": f"https://c.org/{number}", "text": " ".join(prose(1000 + number)).upper()},
        ]
    rows += [
        {"url": "http://www.c.org/3/#top", "text": " ".join(prose(77)), "date": "2026-05-01T00:00:00Z"},
        {"url": "https://d.org/9", "text": ", ".join(prose(1009))},
        {"url": "https://d.org/empty", "text": ""},
    ]
    return rows


def run(documents: Path, out: Path, *, workers: int = 1, **config) -> tuple[dict[str, dict], dict[str, dict]]:
    """Survivors and verdicts by URL."""
    out.mkdir()
    run_dedup(documents, out, DedupConfig.model_validate(config), workers=workers)
    verdicts = {row["url"]: row for row in read_shard(out / "verdicts.parquet") if row["decision"] != "kept"}
    return {row["url"]: row for row in read_documents(out)}, verdicts


def test_every_page_survives_or_has_a_verdict_and_all_columns_travel_on(write_documents, tmp_path):
    documents = write_documents("documents", corpus(), shards=3)
    survivors, verdicts = run(documents, tmp_path / "out")
    assert len(survivors) + len(verdicts) == 123
    assert {row["rule"] for row in verdicts.values()} == {"duplicate_url", "duplicate_text", "near_duplicate"}
    assert sum(row["cluster_size"] for row in survivors.values()) == 123
    schema = pq.read_schema(tmp_path / "out/part-00000.parquet")
    assert schema.names == [*pq.read_schema(documents / "part-00000.parquet").names, "cluster_size"]
    assert str(schema.field("cluster_size").type) == "int32"
    assert not (tmp_path / "out/.work").exists()


def test_survivors_resemble_no_survivor_and_each_dropped_page_resembles_the_page_it_names(write_documents, tmp_path):
    rows = corpus()
    survivors, verdicts = run(write_documents("documents", rows, shards=2), tmp_path / "out")
    sets = {row["url"]: shingles(word_hashes(words(row["text"])), 5) for row in rows}
    kept = list(survivors)
    close = [(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :] if jaccard(sets[a], sets[b]) >= 0.8]
    assert close == []
    by_id = {row["doc_id"]: url for url, row in survivors.items()}
    near = [row for row in verdicts.values() if row["rule"] == "near_duplicate"]
    assert len(near) > 10
    for row in near:
        value, doc_id = row["value"].split(" with ")
        assert jaccard(sets[row["url"]], sets[by_id[doc_id]]) >= 0.8
        assert float(value) >= 0.8


def test_the_best_page_of_a_cluster_stays_longest_then_latest_then_smallest_id(write_documents, tmp_path):
    text = prose(1)
    rows = [
        {"doc_id": "c", "url": "https://a.org/", "text": " ".join(text)},
        {"doc_id": "b", "url": "https://b.org/", "text": " ".join(text)},
        {"doc_id": "a", "url": "https://c.org/", "text": " ".join(text), "date": "2020-01-01T00:00:00Z"},
        {"doc_id": "d", "url": "https://d.org/", "text": " ".join([*text, "more"])},
    ]
    survivors, verdicts = run(write_documents("documents", rows), tmp_path / "out")
    assert {row["doc_id"]: row["cluster_size"] for row in survivors.values()} == {"d": 4}
    assert verdicts["https://b.org/"]["value"].endswith(" with d")
    assert verdicts["https://c.org/"]["value"] == verdicts["https://a.org/"]["value"] == "same as b"


def test_of_two_captures_of_one_url_the_latest_or_the_best_stays(write_documents, tmp_path):
    rows = [
        {
            "doc_id": "old",
            "url": "https://www.a.org/x/",
            "text": " ".join(prose(1, 90)),
            "date": "2020-01-01T00:00:00Z",
        },
        {"doc_id": "new", "url": "http://a.org/x#part", "text": " ".join(prose(2, 30)), "date": "2024-01-01T00:00:00Z"},
    ]
    documents = write_documents("documents", rows)
    latest, _ = run(documents, tmp_path / "latest")
    best, verdicts = run(documents, tmp_path / "best", url="best")
    assert [row["doc_id"] for row in latest.values()] == ["new"]
    assert [row["doc_id"] for row in best.values()] == ["old"]
    assert verdicts["http://a.org/x#part"]["value"] == "same as old"


def test_the_result_depends_neither_on_order_nor_on_sharding(write_documents, tmp_path):
    rows = corpus()
    shuffled = random.Random(1).sample(rows, len(rows))
    first = run(write_documents("one", rows, shards=1), tmp_path / "out1")
    second = run(write_documents("five", shuffled, shards=5), tmp_path / "out5")

    def decisions(result):
        survivors, verdicts = result
        return (
            {url: row["cluster_size"] for url, row in survivors.items()},
            {url: (row["rule"], row["value"]) for url, row in verdicts.items()},
        )

    assert decisions(first) == decisions(second)


def test_two_workers_write_the_same_bytes_as_one(write_documents, tmp_path):
    documents = write_documents("documents", corpus(), shards=2)
    for workers in (1, 2):
        run(documents, tmp_path / f"out{workers}", workers=workers)
    for name in ("part-00000.parquet", "part-00001.parquet", "verdicts.parquet"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
