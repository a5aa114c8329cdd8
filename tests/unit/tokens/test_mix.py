"""The stage `mix`."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.text.documents import read_documents, read_shard
from gristmill.tokens import mix
from gristmill.tokens.mix import run_mix
from gristmill.tokens.mix_config import MixConfig

# 1,000 books and 3,000 web pages of 100 bytes, 25 tokens each
PAGES = [
    {"url": f"https://example.org/{number}", "source": "books" if number % 4 == 0 else "web", "text": "x" * 100}
    for number in range(4000)
]
MORE = {"cluster_size": pa.int32()}
HALVES = {"web": 1, "books": 1}


def run(documents, out, **config):
    """URL → how often the page is seen, and the report."""
    out.mkdir()
    workers = config.pop("workers", 1)
    report = run_mix(documents, out, MixConfig.model_validate(config), workers=workers)
    return {row["url"]: row["epochs"] for row in read_documents(out)}, report


def seen_by(kept, pages=PAGES, column="source") -> Counter:
    """Visits by a column of the pages."""
    columns = {page["url"]: page[column] for page in pages}
    counted = Counter()
    for url, epochs in kept.items():
        counted[columns[url]] += epochs
    return counted


@pytest.fixture
def documents(write_documents):
    return write_documents("documents", PAGES)


def test_without_settings_every_page_goes_on_once(documents, tmp_path):
    kept, report = run(documents, tmp_path / "out")
    assert kept == {page["url"]: 1 for page in PAGES}
    assert (report.rows_in, report.rows_out, report.dropped) == (4000, 4000, {})
    assert report.metrics == {
        "documents_seen": 4000,
        "chars_seen": 400_000,
        "bytes_seen": 400_000,
        "estimated_tokens_seen": 100_000,
    }


def test_weights_are_shares_of_the_mixture_and_what_stays_out_has_a_verdict(documents, tmp_path):
    kept, report = run(documents, tmp_path / "out", source_weights={"web": 3, "books": 1}, max_documents=1000)
    assert seen_by(kept) == {"web": 750, "books": 250}
    rows = list(read_shard(tmp_path / "out/verdicts.parquet"))
    dropped = [row for row in rows if row["decision"] == "dropped"]
    assert {row["url"]: row["epochs"] for row in rows if row["decision"] == "kept"} == kept
    assert len(dropped) == 3000 == report.dropped["mix"]
    assert {row["rule"] for row in dropped} == {"mix"}
    # places in the queue, from 1: the first 1,000 are in the mixture
    assert {row["value"] for row in dropped} == {f"place {place}" for place in range(1001, 4001)}
    assert {row["threshold"] for row in dropped} == {"the first 1000 places"}


def test_without_a_length_the_mixture_ends_where_a_share_could_not_be_held(documents, tmp_path):
    kept, report = run(documents, tmp_path / "out", source_weights=HALVES)
    assert seen_by(kept) == {"web": 1000, "books": 1000}
    assert report.details["ended"] == "all of books has been seen mix.max_epochs=1 times"
    # or where all has been seen: 1,000 books are three times as many as the 3,000 web pages
    kept, report = run(documents, tmp_path / "again", source_weights=HALVES, max_epochs=4)
    assert {kept[page["url"]] for page in PAGES if page["source"] == "web"} == {1}
    assert seen_by(kept)["books"] in (2999, 3000)  # the last book and the last web page have their turn together
    assert report.details["ended"] == "every page has been seen at its rate"


def test_a_length_is_reached_by_repeating_up_to_max_epochs_and_a_used_up_source_leaves_its_place(documents, tmp_path):
    kept, report = run(documents, tmp_path / "out", source_weights=HALVES, max_epochs=2.5, max_tokens=200_000)
    # 8,000 visits of 25 tokens: books can give about 2,500 of their 4,000, the web gives the rest
    books = seen_by(kept)["books"]
    assert books == pytest.approx(2500, abs=5 * (1000 * 0.25) ** 0.5)
    assert seen_by(kept)["web"] == 8000 - books
    assert {kept[page["url"]] for page in PAGES if page["source"] == "books"} == {2, 3}
    rows = {row["source"]: row for row in report.details["sources"]}
    assert rows["books"]["share_asked"] == 0.5
    assert rows["books"]["share_seen"] == round(books / 8000, 6)
    assert report.details["ended"] == "mix.max_tokens=200000"
    kept, report = run(documents, tmp_path / "more", source_weights=HALVES, max_epochs=2, max_tokens=10**9)
    assert set(kept.values()) == {2}
    assert report.details["ended"] == "every page has been seen mix.max_epochs=2 times"


def test_shares_are_counted_in_tokens_and_a_length_is_never_exceeded(write_documents, tmp_path):
    pages = [
        {
            "url": f"https://example.org/{n}",
            "source": "long" if n % 2 else "short",
            "text": "é" * (300 if n % 2 else 20),
        }
        for n in range(1000)
    ]
    documents = write_documents("documents", pages)
    kept, report = run(
        documents, tmp_path / "out", source_weights={"long": 1, "short": 1}, max_tokens=5000, bytes_per_token=2
    )
    # 2 bytes a letter: 300 and 20 tokens; 2,500 of each, less than a page
    seen = seen_by(kept, pages)
    assert 2500 - 300 <= seen["long"] * 300 <= 2500
    assert 2500 - 300 <= seen["short"] * 20 <= 2500 + 300
    assert 5000 - 300 < report.metrics["estimated_tokens_seen"] <= 5000


def test_tokens_are_estimated_by_language(write_documents, tmp_path):
    pages = [{"text": "x" * 100, "language": code} for code in ("en", "en", "uk", None)]
    documents = write_documents("documents", pages)
    _, report = run(documents, tmp_path / "out", bytes_per_token=4, language_bytes_per_token={"uk": 2, "und": 200})
    tokens = {row["language"]: row["estimated_tokens_seen"] for row in report.details["languages"]}
    assert tokens == {"en": 50, "uk": 50, "und": 1}


def test_languages_have_their_share_within_each_source_and_one_that_lacks_leaves_its_place(write_documents, tmp_path):
    pages = [
        *({"source": "web", "language": "en"} for _ in range(500)),
        *({"source": "web", "language": "uk"} for _ in range(500)),
        *({"source": "code", "language": "en"} for _ in range(500)),
    ]
    pages = [{"url": f"https://example.org/{n}", "text": "x" * 40, **page} for n, page in enumerate(pages)]
    documents = write_documents("documents", pages)
    kept, report = run(
        documents,
        tmp_path / "out",
        source_weights={"web": 2, "code": 1},
        language_weights={"en": 1, "uk": 3},
        max_documents=600,
    )
    columns = {page["url"]: (page["source"], page["language"]) for page in pages}
    assert Counter(columns[url] for url in kept) == {("web", "en"): 100, ("web", "uk"): 300, ("code", "en"): 200}
    assert {row["language"]: row["share_seen"] for row in report.details["languages"]} == {"en": 0.5, "uk": 0.5}
    # code is English whatever is asked for: a third, and a quarter of the other two
    assert {row["language"]: row["share_asked"] for row in report.details["languages"]} == {"en": 0.5, "uk": 0.5}
    kept, report = run(documents, tmp_path / "flat", language_weights={"en": 1, "uk": 3}, max_documents=600)
    assert seen_by(kept, pages, "language") == {"en": 150, "uk": 450}
    assert {row["language"]: row["share_asked"] for row in report.details["languages"]} == {"en": 0.25, "uk": 0.75}


def test_a_language_without_a_weight_is_named(write_documents, tmp_path):
    documents = write_documents("documents", [{"text": "x", "language": code} for code in ("en", "fr", None)])
    with pytest.raises(ValueError, match=r"mix.language_weights has no weight for fr, und; give it one"):
        run(documents, tmp_path / "out", language_weights={"en": 1})


def test_the_rehydration_of_fineweb2_repeats_pages_by_the_size_of_their_cluster(write_documents, tmp_path):
    table = {1: 1, 2: 2, 3: 3, 4: 3, 5: 5, 99: 5, 100: 8, 999: 8, 1000: 1, 70_000: 1}
    pages = [{"url": f"https://example.org/{size}", "text": "x", "cluster_size": size} for size in table]
    documents = write_documents("documents", pages, more=MORE)
    kept, _ = run(documents, tmp_path / "out", rehydrate="fineweb2", max_epochs=8)
    assert {int(url.rpartition("/")[2]): epochs for url, epochs in kept.items()} == table
    capped, _ = run(documents, tmp_path / "capped", rehydrate="fineweb2", max_epochs=4)
    assert {int(url.rpartition("/")[2]): epochs for url, epochs in capped.items()} == {
        size: min(epochs, 4) for size, epochs in table.items()
    }
    mine, _ = run(documents, tmp_path / "mine", rehydrate={1: 0, 5: 2, 1000: 0}, max_epochs=4)
    assert mine == {f"https://example.org/{size}": 2 for size in (5, 99, 100, 999)}


def test_a_fraction_of_an_epoch_is_a_part_of_the_pages_by_hash(write_documents, tmp_path):
    pages = [{"url": f"https://example.org/{n}", "text": "x", "cluster_size": 2} for n in range(4000)]
    documents = write_documents("documents", pages, more=MORE)
    kept, _ = run(documents, tmp_path / "out", rehydrate={1: 2.5}, max_epochs=8)
    assert set(kept.values()) == {2, 3}
    assert sum(kept.values()) == pytest.approx(10_000, abs=5 * (4000 * 0.25) ** 0.5)


def graded(count=400):
    return [
        {"url": f"https://example.org/{n}", "text": "x" * 40, "quality": n / count, "language": "uk" if n % 2 else "en"}
        for n in range(count)
    ]


def test_buckets_between_edges_have_their_rates(write_documents, tmp_path):
    pages = [*graded(), {"url": "https://example.org/unmeasured", "text": "x" * 40, "quality": None}]
    documents = write_documents("documents", pages)
    buckets = {"signal": "quality", "edges": [0.25, 0.5], "rates": [0, 1, 3], "unmeasured_rate": 2}
    kept, report = run(documents, tmp_path / "out", buckets=buckets, max_epochs=3)
    # .25 and .5 lie in the bucket above
    assert kept == {f"https://example.org/{n}": 1 if n < 200 else 3 for n in range(100, 400)} | {
        "https://example.org/unmeasured": 2
    }
    rows = list(read_shard(tmp_path / "out/verdicts.parquet"))
    assert Counter(row["bucket"] for row in rows) == {0: 100, 1: 100, 2: 200, None: 1}
    assert {(row["value"], row["bucket"]) for row in rows if row["decision"] == "dropped"} == {("rate 0", 0)}
    assert {row["bucket"]: row["documents_seen"] for row in report.details["buckets"]} == {
        0: 0,
        1: 100,
        2: 600,
        None: 2,
    }


def test_a_page_that_equals_an_edge_as_written_lies_above_it_though_scores_are_stored_in_32_bits(
    write_documents, tmp_path
):
    pages = [{"url": "https://example.org/a", "text": "x", "score": 0.7}]
    documents = write_documents("documents", pages, more={"score": pa.float32()})
    kept, _ = run(documents, tmp_path / "out", buckets={"signal": "score", "edges": [0.7], "rates": [0, 1]})
    assert len(kept) == 1


def test_quantiles_are_those_of_each_language(write_documents, tmp_path):
    pages = graded()
    for page in pages:
        page["quality"] += 10 * (page["language"] == "uk")  # another classifier, another scale
    buckets = {"signal": "quality", "quantiles": 4, "rates": [0, 1, 1, 2]}
    kept, report = run(write_documents("documents", pages), tmp_path / "out", buckets=buckets, max_epochs=2)
    assert kept == {f"https://example.org/{n}": 2 if n >= 300 else 1 for n in range(100, 400)}
    assert report.details["bucket_edges"] == {
        "en": pytest.approx([0.25, 0.5, 0.75]),
        "uk": pytest.approx([10.2525, 10.5025, 10.7525]),
    }


def test_rates_decide_which_pages_of_a_source_are_seen_and_not_how_much(write_documents, tmp_path):
    pages = [page | {"source": "good" if n >= 300 else "web"} for n, page in enumerate(graded())]
    documents = write_documents("documents", pages)
    kept, _ = run(
        documents,
        tmp_path / "out",
        buckets={"signal": "quality", "edges": [0.5], "rates": [1, 3]},
        source_weights={"good": 1, "web": 1},
        max_documents=100,
        max_epochs=3,
    )
    assert seen_by(kept, pages) == {"good": 50, "web": 50}
    # the web has 200 pages at rate 1 and 100 at rate 3: three in five are of the upper half
    upper = sum(epochs for url, epochs in kept.items() if 200 <= int(url.rpartition("/")[2]) < 300)
    assert upper == pytest.approx(30, abs=5 * (50 * 0.24) ** 0.5)


def test_a_larger_length_only_adds_pages_and_visits(documents, tmp_path):
    options = {"source_weights": {"web": 2, "books": 3}, "max_epochs": 3}
    before: dict[str, int] = {}
    for most in (10, 500, 2000, 4000, 9000):
        kept, _ = run(documents, tmp_path / str(most), **options, max_documents=most)
        assert sum(kept.values()) == most
        assert all(kept[url] >= epochs for url, epochs in before.items())
        before = kept


def test_the_mixture_depends_on_the_seed_but_not_on_order_sharding_or_workers(write_documents, tmp_path):
    options = {"source_weights": HALVES, "max_epochs": 2, "max_documents": 2500}
    one, first = run(write_documents("one", PAGES), tmp_path / "out1", **options)
    four, second = run(write_documents("four", PAGES[::-1], shards=4), tmp_path / "out4", **options)
    two, third = run(tmp_path / "four", tmp_path / "out2", workers=2, **options)
    other, _ = run(tmp_path / "one", tmp_path / "other", seed=1, **options)
    assert one == four == two
    assert first == second == third
    assert set(one) != set(other)
    assert (tmp_path / "out1/manifest.jsonl").read_bytes() == (tmp_path / "out4/manifest.jsonl").read_bytes()
    files = [path.name for path in (tmp_path / "out4").iterdir() if path.is_file()]
    assert len(files) == 6
    assert all((tmp_path / "out4" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes() for name in files)


def test_a_killed_mix_goes_on_and_writes_the_same_bytes(write_documents, tmp_path, monkeypatch):
    documents = write_documents("documents", PAGES[:400], shards=4)
    run(documents, tmp_path / "whole", max_documents=200)
    write = mix._write_shard

    def killed(shard):
        if shard.documents.stem == "part-00002":
            raise KeyboardInterrupt
        return write(shard)

    monkeypatch.setattr(mix, "_write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        run(documents, tmp_path / "killed", max_documents=200)
    monkeypatch.setattr(mix, "_write_shard", write)

    def again(*_, **__):
        raise AssertionError("a committed shard is measured again")

    monkeypatch.setattr(mix, "measure_shard", again)
    run_mix(documents, tmp_path / "killed", MixConfig(max_documents=200))
    files = [path.name for path in (tmp_path / "whole").iterdir() if path.is_file()]
    assert len(files) == 6
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes() for name in files)


def test_the_manifest_says_what_each_group_had_and_gives_once_and_repeated(write_documents, tmp_path):
    pages = [
        {"source": "a", "language": "en", "quality": 0.1, "text": "é" * 8},
        {"source": "a", "language": "en", "quality": 0.9, "text": "x" * 12},
        {"source": "a", "language": "en", "quality": 0.9, "text": "x" * 20},
        {"source": "b", "language": None, "quality": None, "text": "x" * 4},
    ]
    buckets = {"signal": "quality", "edges": [0.5], "rates": [0, 3]}
    run(write_documents("documents", pages), tmp_path / "out", buckets=buckets, max_epochs=3)
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert rows == [
        numbers("a", "en", 0, documents=(1, 0, 0), chars=(8, 0, 0), bytes=(16, 0, 0), estimated_tokens=(4, 0, 0)),
        numbers("a", "en", 1, documents=(2, 2, 6), chars=(32, 32, 96), bytes=(32, 32, 96), estimated_tokens=(8, 8, 24)),
        numbers("b", "und", None, documents=(1, 1, 1), chars=(4, 4, 4), bytes=(4, 4, 4), estimated_tokens=(1, 1, 1)),
    ]


def numbers(source, language, bucket, **counts):
    row = {"source": source, "language": language, "bucket": bucket}
    for name, (there, goes_on, seen) in counts.items():
        row |= {f"{name}_in": there, name: goes_on, f"{name}_seen": seen}
    epochs = {None: 1, 0: 0, 1: 3}[bucket]
    return row | {"epochs_mean": epochs, "epochs_max": epochs, "share_seen": counts["estimated_tokens"][2] / 25}


def test_pages_on_an_opt_out_list_count_for_nothing(write_documents, tmp_path):
    pages = [page | {"url": page["url"].replace("example", f"host{n % 2}")} for n, page in enumerate(PAGES[:400])]
    (tmp_path / "list.txt").write_text("domain:host1.org\n")
    documents = write_documents("documents", pages)
    lists = {"opt_out": {"lists": [str(tmp_path / "list.txt")]}}
    kept, report = run(documents, tmp_path / "out", max_documents=100, **lists)
    without, _ = run(write_documents("rest", pages[::2]), tmp_path / "rest_out", max_documents=100)
    assert kept == without
    assert report.dropped == {"opt_out:domain": 200, "mix": 100}
    assert sum(row["documents_in"] for row in report.details["sources"]) == 200


def test_a_source_of_weight_zero_is_shut_out_but_not_all_of_them(documents, tmp_path):
    kept, _ = run(documents, tmp_path / "out", source_weights={"web": 0, "books": 1})
    assert seen_by(kept) == {"books": 1000}
    values = {row["value"] for row in read_shard(tmp_path / "out/verdicts.parquet") if row["decision"] == "dropped"}
    assert values == {"weight 0 of web"}
    with pytest.raises(ValueError, match=r"mix.source_weights shuts out all there are \(books, web\)"):
        run(documents, tmp_path / "none", source_weights={"web": 0, "books": 0, "absent": 1})


def test_a_source_that_is_not_there_leaves_its_share_to_the_others(documents, tmp_path):
    kept, report = run(documents, tmp_path / "out", source_weights=HALVES | {"absent": 8}, max_documents=1000)
    assert seen_by(kept) == {"web": 500, "books": 500}
    assert [row["share_asked"] for row in report.details["sources"]] == [0.5, 0.5]


def test_a_length_smaller_than_any_page_is_an_error(documents, tmp_path):
    with pytest.raises(ValueError, match=r"mix: mix.max_chars=10 let none of 4000 documents through"):
        run(documents, tmp_path / "out", max_chars=10)


def test_a_missing_column_is_named_with_those_there_are(documents, tmp_path):
    with pytest.raises(ValueError, match=r"mix.rehydrate: the documents in documents have no column cluster_size"):
        run(documents, tmp_path / "out", rehydrate="fineweb2", max_epochs=8)
    buckets = {"signal": "qualty", "edges": [0.5], "rates": [0, 1]}
    with pytest.raises(ValueError, match=r"no column qualty; numbers there are: .*quality"):
        run(documents, tmp_path / "again", buckets=buckets)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"rehydrate": "fineweb2"}, "up to 8 times, mix.max_epochs=1 only once; raise max_epochs"),
        ({"rehydrate": {2: 2}, "max_epochs": 2}, "no rate for clusters of 1 page"),
        ({"source_weights": {"web": 0}}, "mix.source_weights shuts out everything"),
        ({"buckets": {"signal": "quality", "rates": [0, 1]}}, "either edges or quantiles"),
        ({"buckets": {"signal": "quality", "edges": [0.5], "rates": [0, 1, 2]}}, "2 buckets need as many rates, not 3"),
        ({"buckets": {"signal": "quality", "edges": [0.5, 0.5], "rates": [0, 1, 2]}}, "must ascend, no value twice"),
    ],
)
def test_settings_that_cannot_be_held_are_refused(config, complaint):
    with pytest.raises(ValidationError, match=complaint):
        MixConfig.model_validate(config)
