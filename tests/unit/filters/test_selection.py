import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.filters.config import FilterConfig, Thresholds
from gristmill.filters.filter import run_filter
from gristmill.filters.language_data import shipped_thresholds
from gristmill.filters.selection import select
from gristmill.text.documents import DOCUMENT_SCHEMA, read_documents, read_shard, write_shard

SCHEMA = DOCUMENT_SCHEMA.append(pa.field("quality", pa.float32())).append(pa.field("topic", pa.string()))
OFF = dict.fromkeys(Thresholds.model_fields) | {"by_language": dict.fromkeys(shipped_thresholds())}


def documents(folder: Path, rows: list[dict], *, shards: int = 1) -> Path:
    filled = [
        dict.fromkeys(SCHEMA.names) | {"doc_id": f"{number:016x}", "text": "x", "language": "en"} | row
        for number, row in enumerate(rows)
    ]
    for shard in range(shards):
        write_shard(folder / f"part-{shard:05d}.parquet", filled[shard::shards], schema=SCHEMA)
    return folder


def config(**settings) -> FilterConfig:
    return FilterConfig.model_validate(OFF | settings)


def kept(folder: Path) -> set[str]:
    return {row["doc_id"] for row in read_documents(folder)}


def test_the_top_fraction_of_each_language_is_kept_whatever_the_shards(tmp_path):
    rng = random.Random(0)
    rows = [{"quality": rng.random(), "language": rng.choice(["en", "de"])} for _ in range(200)]
    shuffled = [row | {"doc_id": f"{number:016x}"} for number, row in enumerate(rows)]
    rng.shuffle(shuffled)
    one = documents(tmp_path / "one", rows)
    run_filter(one, tmp_path / "out1", config(top_fraction={"quality": 0.1}))
    three = documents(tmp_path / "three", shuffled, shards=3)
    run_filter(three, tmp_path / "out3", config(top_fraction={"quality": 0.1}), workers=2)
    expected = set()
    for language in ("en", "de"):
        ranked = sorted(
            (n for n, row in enumerate(rows) if row["language"] == language), key=lambda n: -rows[n]["quality"]
        )
        expected |= {f"{n:016x}" for n in ranked[: -(-len(ranked) // 10)]}  # rounded up
    assert kept(tmp_path / "out1") == kept(tmp_path / "out3") == expected


def test_equal_scores_are_kept_by_identifier(tmp_path):
    rows = [{"quality": 0.3}] * 10
    report = run_filter(documents(tmp_path / "in", rows), tmp_path / "out", config(top_fraction={"quality": 0.3}))
    assert kept(tmp_path / "out") == {f"{n:016x}" for n in range(3)}
    assert report.dropped == {"top_fraction.quality": 7}


def test_ranks_are_among_those_that_pass_the_thresholds_and_a_null_passes(tmp_path):
    rows = [{"quality": n / 10} for n in range(10)] + [{"quality": None}]
    chosen = config(min_quality=0.6, top_fraction={"quality": 0.5})
    report = run_filter(documents(tmp_path / "in", rows), tmp_path / "out", chosen)
    assert report.details["kept_though_not_measured"] == {"min_quality": 1, "top_fraction.quality": 1}
    assert kept(tmp_path / "out") == {f"{n:016x}" for n in (8, 9, 10)}  # of 6, 7, 8, 9 the upper half
    by_page = {row["doc_id"]: row for row in read_shard(tmp_path / "out" / "verdicts.parquet")}
    dropped = by_page[f"{7:016x}"]
    assert (dropped["rule"], dropped["value"], dropped["threshold"]) == ("top_fraction.quality", "0.7", "0.8")
    assert by_page[f"{5:016x}"]["rule"] == "min_quality"


def test_a_capped_topic_has_at_most_its_share_of_what_is_kept(tmp_path):
    rng = random.Random(1)
    topics = ["law"] * 500 + ["sport"] * 100 + ["food"] * 100 + [None] * 50
    rows = [{"topic": topic, "doc_id": f"{rng.getrandbits(64):016x}"} for topic in topics]
    report = run_filter(documents(tmp_path / "in", rows), tmp_path / "out", config(topic_shares={"law": 0.2}))
    counts = Counter(row["topic"] for row in read_documents(tmp_path / "out"))
    # 250 others are four fifths of what is kept: 312.5, of which law has 62
    assert counts == {"law": 62, "sport": 100, "food": 100, None: 50}
    assert report.dropped == {"topic_shares.law": 438}
    verdict = next(row for row in read_shard(tmp_path / "out" / "verdicts.parquet") if row["decision"] == "dropped")
    assert (verdict["value"], verdict["threshold"]) == (f"{500 / 750:.4f}", "0.2")
    rng.shuffle(rows)
    run_filter(documents(tmp_path / "again", rows, shards=2), tmp_path / "out2", config(topic_shares={"law": 0.2}))
    assert kept(tmp_path / "out2") == kept(tmp_path / "out")


@pytest.mark.parametrize("seed", range(5))
def test_caps_hold_together_and_drop_no_more_than_they_must(tmp_path, seed):
    rng = np.random.default_rng(seed)
    counts = {topic: int(n) for topic, n in zip("abcd", rng.integers(50, 2000, 4), strict=True)}
    shares = {"a": 0.1, "b": 0.25, "c": 0.4}
    rows = [{"topic": topic} for topic, n in counts.items() for _ in range(n)]
    folder = documents(tmp_path / "in", rows)
    chosen = select(folder, lambda row: True, columns=[], top_fraction={}, topic_shares=shares)
    left = Counter(row["topic"] for row in read_documents(folder) if chosen.refuse(row) is None)
    total = left.total()
    for topic, share in shares.items():
        assert left[topic] <= share * total + 1
        if left[topic] < counts[topic]:
            assert left[topic] >= share * total - 2  # it lost what it had above its share, and no more
    assert left["d"] == counts["d"]


def test_caps_that_leave_nothing_are_refused(tmp_path):
    folder = documents(tmp_path / "in", [{"topic": "law"}] * 10 + [{"topic": "sport"}] * 10)
    with pytest.raises(
        ValueError, match=r"all topics there are \(law, sport\) are capped, and their shares add up to 0.50"
    ):
        run_filter(folder, tmp_path / "out", config(topic_shares={"law": 0.2, "sport": 0.3}))


def test_documents_without_the_column_are_refused(tmp_path):
    write_shard(tmp_path / "in" / "part-00000.parquet", [])
    with pytest.raises(ValueError, match="no column quality, which filter looks at"):
        run_filter(tmp_path / "in", tmp_path / "out", config(top_fraction={"quality": 0.1}))


def test_shares_that_had_no_topic_to_look_at_are_reported(tmp_path):
    rows = [{"topic": None}] * 5
    report = run_filter(documents(tmp_path / "in", rows), tmp_path / "out", config(topic_shares={"law": 0.2}))
    assert (report.rows_out, report.details["kept_though_not_measured"]) == (5, {"topic_shares": 5})


def test_thresholds_for_a_language_that_no_page_is_in_are_reported(tmp_path):
    settings = {"by_language": dict.fromkeys(shipped_thresholds()) | {"deu": {"min_words": 9}}}
    report = run_filter(documents(tmp_path / "in", [{"language": "de"}]), tmp_path / "out", config(**settings))
    assert "deu" in report.details["by_language_never_used"]
    assert "de" not in report.details["by_language_never_used"]
