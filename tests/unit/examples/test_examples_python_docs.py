"""Rows and items from docstrings: who may train on what, and that guessing does not pay."""

import json
from collections import Counter
from pathlib import Path

import pytest

from gristmill.crawl.docstrings import Entry, ModuleDoc, iter_modules
from gristmill.crawl.python_docs_config import PythonDocsSource
from gristmill.examples.config import ExamplesConfig
from gristmill.examples.functions import usable_functions
from gristmill.examples.overlap import OWN_STEMS, STEMS
from gristmill.examples.python_docs import run_examples
from gristmill.text.config import SplitConfig
from gristmill.text.split import split_of
from gristmill.text.words import text_hash

SOURCE = PythonDocsSource(packages=["stdlib", "numpy"], max_modules=120)
SPLIT = SplitConfig(held_out=0.3, validation=0.1)
CONFIG = ExamplesConfig(source=SOURCE, min_benchmark_items=20)
FILES = ("sft", "sft_held_out", "preferences", "preferences_held_out", "benchmark", "held_out")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("examples")
    report = run_examples(out, CONFIG, split=SPLIT)
    return out, report, {name: read(out / f"{name}.jsonl") for name in FILES}


@pytest.fixture(scope="module")
def splits():
    """Qualified name → splits of the pages it stands on."""
    found: dict[str, set[str]] = {}
    for module in iter_modules(SOURCE):
        for entry in module.entries:
            found.setdefault(entry.qualname, set()).add(split_of(module.url, SPLIT))
    return found


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def usable(*entries: Entry) -> tuple[list[str], Counter]:
    module = ModuleDoc("https://docs.invalid/demo/demo.html", "demo", "1", "demo", "", entries)
    dropped = Counter()
    return [one.summary for one in usable_functions([module], ExamplesConfig(), SplitConfig(), dropped)], dropped


def entry(summary: str, docstring: str = "", name: str = "f") -> Entry:
    return Entry(f"demo.{name}", "function", "f()", docstring or summary, summary)


def test_each_file_takes_functions_of_its_own_split_only(made, splits):
    _, _, rows = made
    for name, split in (
        ("sft", "train"),
        ("preferences", "train"),
        ("sft_held_out", "validation"),
        ("preferences_held_out", "validation"),
        ("benchmark", "held_out"),
        ("held_out", "held_out"),
    ):
        assert rows[name], name
        assert all(split in splits[row["id"]] for row in rows[name]), name


def test_all_summaries_of_the_benchmark_are_held_out_and_in_no_row_to_train_on(made):
    _, _, rows = made
    held_out = {row["summary"] for row in rows["held_out"]}
    assert {choice for item in rows["benchmark"] for choice in item["choices"]} == held_out
    texts = {text_hash(summary) for summary in held_out}
    assert not any(text_hash(row["messages"][1]["content"]) in texts for row in rows["sft"])
    assert not any(text_hash(row["chosen"][0]["content"]) in texts for row in rows["preferences"])
    assert not any(text_hash(row["rejected"][0]["content"]) in texts for row in rows["preferences"])


def test_the_answer_is_the_functions_own_summary_and_the_choices_differ(made):
    _, _, rows = made
    summaries = {row["id"]: row["summary"] for row in rows["held_out"]}
    for item in rows["benchmark"]:
        assert item["question"] == f"What does `{item['id']}` do?"
        assert item["choices"][item["answer"]] == summaries[item["id"]]
        assert len(set(item["choices"])) == 4
    places = Counter(item["answer"] for item in rows["benchmark"])
    assert max(places.values()) - min(places.values()) <= 1


def test_wrong_choices_share_as_many_stems_with_the_name_as_the_right_one(made):
    _, _, rows = made
    for item in rows["benchmark"]:
        for overlap in (STEMS, OWN_STEMS):
            assert len({overlap(item["id"], choice) for choice in item["choices"]}) == 1
    others = [pair for pair in rows["preferences"] if pair["fault"] == "another_function"]
    assert 0.4 < len(others) / len(rows["preferences"]) < 0.6
    for pair in others:
        assert STEMS(pair["id"], pair["chosen"][0]["content"]) == STEMS(pair["id"], pair["rejected"][0]["content"])


def test_guessing_without_a_model_is_near_chance(made):
    _, report, _ = made
    for name in ("word_overlap", "overlap_stem", "overlap_own_name", "shortest", "longest"):
        assert report.metrics[f"baseline_{name}"] <= 0.35, name
        assert abs(report.metrics[f"preference_{name}"] - 0.5) < 0.1, name


def test_rows_have_the_shape_that_training_reads(made):
    _, _, rows = made
    row = rows["sft"][0]
    assert row["messages"][0] == {"role": "user", "content": f"What does `{row['id']}` do?"}
    assert row["messages"][1]["role"] == "assistant"
    assert (row["source"], row["license"]) == (SOURCE.name, SOURCE.license)
    pair = rows["preferences"][0]
    assert [message["role"] for message in pair["prompt"] + pair["chosen"] + pair["rejected"]] == [
        "user",
        "assistant",
        "assistant",
    ]


def test_the_report_accounts_for_every_function(made):
    _, report, rows = made
    assert report.rows_in - sum(report.dropped.values()) == report.rows_out
    assert {name: report.metrics[f"rows_{name}"] for name in FILES} == {name: len(rows[name]) for name in FILES}


def test_the_same_bytes_come_out_again(made, tmp_path):
    out, _, _ = made
    run_examples(tmp_path, CONFIG, split=SPLIT)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in out.iterdir()
    }


def test_too_few_items_are_an_error_that_says_what_to_raise(tmp_path):
    config = ExamplesConfig(source=PythonDocsSource(packages=["stdlib"], max_modules=5))
    with pytest.raises(ValueError, match="fewer than min_benchmark_items=1000; raise"):
        run_examples(tmp_path, config, split=SPLIT)


def test_a_summary_is_a_sentence_of_prose():
    kept, dropped = usable(
        entry("Return the norm of a vector", name="a"),
        entry("See the other function for details.", name="b"),
        entry("Return %(klass)s of the group.", name="c"),
        entry("Too short.", name="d"),
        entry("Return the norm of it.", "Return the norm of it.\n\n.. deprecated:: 1.0", name="e"),
        entry("return the norm of a vector.", name="f"),
    )
    assert kept == ["Return the norm of a vector."]
    assert dropped == {"no_real_summary": 5}


def test_one_name_makes_one_function():
    kept, dropped = usable(entry("Return the norm of a vector."), entry("Return the sum of a vector."))
    assert kept == ["Return the norm of a vector."]
    assert dropped == {"repeated_name": 1}


def test_impossible_bounds_are_refused():
    with pytest.raises(ValueError, match="min_benchmark_items=1000 is above benchmark_items=10"):
        ExamplesConfig(benchmark_items=10)
    with pytest.raises(ValueError, match="min_summary_words=40 is above"):
        ExamplesConfig(min_summary_words=40)


def test_the_weight_of_the_source_is_not_part_of_the_identity():
    heavy = ExamplesConfig(source=SOURCE.model_copy(update={"weight": 9.0}), min_benchmark_items=20)
    assert heavy.identity() == CONFIG.identity()
