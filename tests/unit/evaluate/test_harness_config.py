"""Definitions of benchmarks: found by name, changed by `extends`, in the key by content, kept out of training text."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from gristmill.config import PipelineConfig
from gristmill.dedup.item_files import read_items as decontaminated_items
from gristmill.evaluate.config import EvaluateConfig, MultipleChoice
from gristmill.evaluate.harness_config import FOLDERS, HarnessBenchmark, HubBenchmark, definition
from gristmill.evaluate.harness_items import drawn, read_items

NAMES = sorted(path.stem for path in FOLDERS[1].glob("*.yaml"))
ASKED = {"kind": "harness", "doc_to_text": "", "doc_to_choice": "{{[a, b]}}", "doc_to_target": "0"}


def asking(*benchmarks: object) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"benchmarks": list(benchmarks)})


def test_a_name_stands_for_its_definition_and_settings_without_a_kind_are_multiple_choice():
    named, plain = asking("piqa", {"score": "sum"}).benchmarks
    assert isinstance(named, HarnessBenchmark)
    assert (named.name, named.doc_to_text, named.metrics) == ("piqa", "{{query}}Answer:", ["acc", "acc_norm"])
    assert isinstance(plain, MultipleChoice)


def test_extends_changes_a_definition_and_what_is_dumped_reads_back_the_same():
    config = asking("piqa", {"extends": "piqa", "name": "piqa_five_shot", "num_fewshot": 5})
    one, other = config.benchmarks
    assert isinstance(other, HarnessBenchmark)
    assert other == one.model_copy(update={"name": "piqa_five_shot", "num_fewshot": 5})
    assert EvaluateConfig.model_validate(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize("name", NAMES)
def test_every_definition_is_named_as_its_file_and_says_what_it_is(name: str):
    found = definition(name)
    assert found.name == name
    assert found.about


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_every_definition_fits_its_file_and_decontamination_knows_the_same_items(name: str, shared_data: Path):
    found = definition(name)
    there = shared_data / found.data.path.parent.name / found.data.path.name
    found = found.model_copy(update={"data": found.data.model_copy(update={"path": there})})
    config = PipelineConfig.model_validate(
        {
            "ingest": {"sources": [{"kind": "python_docs", "name": "docs"}]},
            "evaluate": {"benchmarks": [found.model_dump()]},
        }
    )
    (file,) = config.decontamination.benchmarks
    assert file.benchmark == name
    asked = read_items(found)
    assert [item.item_id for item in decontaminated_items(file)] == asked.ids
    assert len(set(asked.ids)) == len(asked.rows)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"no benchmark 'picka'; .*piqa"):
        asking("picka")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ["perplexity"]}, "do not fit output_type=multiple_choice"),
        ({"output_type": "loglikelihood"}, "doc_to_choice belongs to output_type=multiple_choice"),
        ({"metrics": []}, "do not fit"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, change: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        asking({**ASKED, "name": "mine", "data": {"path": str(tmp_path)}, **change})


def test_a_file_is_in_the_key_by_content_and_what_is_said_about_it_is_not(tmp_path: Path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"a": "x", "b": "y"}\n')
    asked = [
        asking({**ASKED, "name": "mine", "about": name, "data": {"path": str(tmp_path / name)}}).identity()
        for name in ("a.jsonl", "b.jsonl")
    ]
    assert asked[0] == asked[1]
    (tmp_path / "b.jsonl").write_text('{"a": "x", "b": "z"}\n')
    changed = asking({**ASKED, "name": "mine", "data": {"path": str(tmp_path / "b.jsonl")}})
    assert changed.identity() != asked[0]


def test_a_task_of_the_hub_is_asked_and_not_decontaminated():
    config = PipelineConfig.model_validate(
        {
            "ingest": {"sources": [{"kind": "python_docs", "name": "docs"}]},
            "evaluate": {"benchmarks": [{"kind": "hub", "name": "hellaswag", "task": "hellaswag"}]},
        }
    )
    assert isinstance(config.evaluate.benchmarks[0], HubBenchmark)
    assert config.decontamination.benchmarks == []


def test_drawn_items_are_distinct_ascending_and_nested():
    small, large = drawn(1000, 100, 0), drawn(1000, 500, 0)
    assert small == sorted(set(small))
    assert set(small) < set(large)
    assert drawn(1000, 100, 1) != small
    assert drawn(3, 5, 0) == drawn(3, None, 0) == [0, 1, 2]
