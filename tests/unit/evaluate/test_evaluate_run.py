import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from gristmill.dedup.decontaminate_config import ItemFile
from gristmill.dedup.item_files import read_items as decontaminated_items
from gristmill.dedup.leaks import LEAK_SCHEMA
from gristmill.evaluate.config import EvaluateConfig, JsonlItems, MultipleChoice
from gristmill.evaluate.run import run_evaluate
from gristmill.report import Report
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
CONFIG = EvaluateConfig(samples=["What does `list.sort` do?"], sample_tokens=4)


def measure(
    model: Path,
    examples: Path,
    out: Path,
    *,
    parent: Path | None = None,
    clean: Path | None = None,
    config: EvaluateConfig = CONFIG,
) -> Report:
    out.mkdir()
    report = run_evaluate(model, None, examples, parent, out, config, CPU, decontaminated=clean)
    (out / "result.json").write_text(report.model_dump_json())
    return report


def test_every_item_is_written_and_the_same_run_writes_the_same_bytes(tiny_model: Path, examples: Path, tmp_path: Path):
    report = measure(tiny_model, examples, tmp_path / "a")
    measure(tiny_model, examples, tmp_path / "b")
    assert pq.read_table(tmp_path / "a" / "items.parquet").num_rows == report.rows_out == 12
    for name in ("items.parquet", "samples.jsonl", "result.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (sample,) = (tmp_path / "a" / "samples.jsonl").read_text().splitlines()
    assert json.loads(sample)["prompt"] == "What does `list.sort` do?"


def test_a_model_compared_with_itself_differs_by_exactly_nothing(tiny_model: Path, examples: Path, tmp_path: Path):
    measure(tiny_model, examples, tmp_path / "parent")
    metrics = measure(tiny_model, examples, tmp_path / "child", parent=tmp_path / "parent").metrics
    names = ("", "_ci_low", "_ci_high")
    assert [metrics[f"docs_choice_accuracy_minus_parent{name}"] for name in names] == [0, 0, 0]


def test_a_parent_that_was_asked_in_other_words_is_not_compared(tiny_model: Path, examples: Path, tmp_path: Path):
    other = CONFIG.model_copy(update={"benchmarks": [MultipleChoice(score="sum")]})
    measure(tiny_model, examples, tmp_path / "parent", config=other)
    report = measure(tiny_model, examples, tmp_path / "child", parent=tmp_path / "parent")
    assert "docs_choice_accuracy_minus_parent" not in report.metrics
    says = report.details["docs_choice_accuracy_minus_parent"]
    assert says == "the two were not asked alike: score is 'mutual_information' here, 'sum' there"


def test_a_base_model_is_asked_in_its_own_format_and_compared(tiny_model: Path, examples: Path, tmp_path: Path):
    base = measure(tiny_model, examples, tmp_path / "parent", config=CONFIG.for_base_model())
    child = measure(tiny_model, examples, tmp_path / "child", parent=tmp_path / "parent")
    difference = child.metrics["docs_choice_accuracy"] - base.metrics["docs_choice_accuracy"]
    assert child.metrics["docs_choice_accuracy_minus_parent"] == pytest.approx(difference)
    asked, of_base = (report.details["benchmarks"]["docs_choice"] for report in (child, base))
    assert (asked["chat"], asked["parent_chat"], of_base["chat"]) == (True, False, False)
    assert (asked["prefix_token"], of_base["prefix_token"]) == (None, "<|endoftext|>")
    assert of_base["first_request"][0].startswith("<|endoftext|>What does")


def test_scores_are_given_without_the_items_that_decontamination_found_too(
    tiny_model: Path, examples: Path, tmp_path: Path
):
    (tmp_path / "clean").mkdir()
    rows = [
        {"benchmark": "examples", "item_id": key, "row": row} for row, key in ((1, "sort"), (1, "sort"), (3, "join"))
    ]
    rows += [{"benchmark": "another", "item_id": "split", "row": 4}]
    leaks = [dict.fromkeys(LEAK_SCHEMA.names) | row for row in rows]
    pq.write_table(pa.Table.from_pylist(leaks, LEAK_SCHEMA), tmp_path / "clean" / "leaks.parquet")
    metrics = measure(tiny_model, examples, tmp_path / "out", clean=tmp_path / "clean").metrics
    items = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    others = [item["correct"] for item in items if item["id"] not in ("sort", "join")]
    assert metrics["docs_choice_found_n"] == 2
    assert len(others) == 10
    assert metrics["docs_choice_accuracy_without_found"] == pytest.approx(sum(others) / 10)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("id", {}),
        ("question_id", {}),
        ("idx", {}),
        (None, {}),
        ("slug", {"id": "slug"}),  # decontaminate.benchmarks names the file with an id of its own
    ],
)
def test_found_items_of_a_file_are_known_whatever_their_ids_are_called(
    field: str | None, settings: dict, tiny_model: Path, tmp_path: Path
):
    path = tmp_path / "exam.jsonl"
    rows = [{"question": f"What is {number}?", "choices": ["a", "b"], "answer": 0} for number in range(4)]
    named = [row | ({field: f"q{number}"} if field else {}) for number, row in enumerate(rows)]
    path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in named))
    empty = dict.fromkeys(LEAK_SCHEMA.names)
    found = [
        empty | {"benchmark": item.benchmark, "item_id": item.item_id, "row": item.row}
        for item in decontaminated_items(ItemFile(path=path, name="exam", **settings))
    ]
    (tmp_path / "clean").mkdir()
    pq.write_table(pa.Table.from_pylist(found[1:3], LEAK_SCHEMA), tmp_path / "clean" / "leaks.parquet")
    config = EvaluateConfig(benchmarks=[MultipleChoice(name="exam", data=JsonlItems(path=path))], samples=[])
    metrics = measure(tiny_model, tmp_path, tmp_path / "out", clean=tmp_path / "clean", config=config).metrics
    assert metrics["exam_found_n"] == 2
    items = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert metrics["exam_accuracy_without_found"] == (items[0]["correct"] + items[3]["correct"]) / 2


def test_a_number_that_is_not_finite_is_no_metric_but_is_said(tiny_model: Path, examples: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    model.save_pretrained(broken)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (broken / name).write_bytes((tiny_model / name).read_bytes())
    report = measure(broken, examples, tmp_path / "out")
    assert "docs_choice_accuracy" not in report.metrics
    assert report.details["docs_choice_accuracy"] == "not finite"
    assert all(math.isfinite(value) for value in report.metrics.values())


def test_a_base_model_is_measured_without_samples_too(tiny_model: Path, examples: Path, tmp_path: Path):
    config = EvaluateConfig(samples=[], chat=False)
    report = run_evaluate(tiny_model, None, examples, None, tmp_path, config, CPU)
    assert report.rows_out == 12
    assert (tmp_path / "samples.jsonl").read_text() == ""


def test_two_benchmarks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two benchmarks, texts or sets of beginnings are named 'docs_choice'"):
        EvaluateConfig(benchmarks=[MultipleChoice(), MultipleChoice(score="sum")])


def test_items_stand_for_their_content_in_the_key(tmp_path: Path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("{}\n")
    first, second = (
        EvaluateConfig(benchmarks=[MultipleChoice(data=JsonlItems(path=tmp_path / name))]).identity()
        for name in ("a.jsonl", "b.jsonl")
    )
    assert first == second
