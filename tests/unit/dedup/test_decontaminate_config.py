"""Which files decontamination reads: those listed, those that `evaluate` asks, and what they are in a key."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gristmill.config import PipelineConfig
from gristmill.dedup.decontaminate_config import DecontaminateConfig, ItemFile
from gristmill.schema import SourceUnavailable


def listed(*benchmarks: Any) -> DecontaminateConfig:
    return DecontaminateConfig.model_validate({"benchmarks": list(benchmarks)})


def asking(path: Path, name: str = "mine", **decontaminate: Any) -> PipelineConfig:
    benchmark = {"name": name, "data": {"kind": "jsonl", "path": str(path)}}
    source = {"kind": "python_docs", "name": "docs"}
    return PipelineConfig.model_validate(
        {
            "ingest": {"sources": [source]},
            "evaluate": {"benchmarks": [{"name": "docs_choice"}, benchmark]},
            "decontaminate": decontaminate,
        }
    )


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "Who?", "choices": ["I", "you"], "answer": 0}) + "\n")
    return path


def test_a_file_that_evaluate_asks_is_decontaminated_by_itself(questions):
    (file,) = asking(questions).decontamination.benchmarks
    assert (file.path, file.benchmark) == (questions, "mine")
    assert asking(questions).decontaminate.benchmarks == []


def test_its_content_is_in_the_key_and_its_place_is_not(questions, tmp_path):
    before = asking(questions).decontamination.identity()
    moved = questions.rename(tmp_path / "elsewhere.jsonl")
    assert asking(moved).decontamination.identity() == before
    moved.write_text(moved.read_text().replace("Who", "What"))
    assert asking(moved).decontamination.identity() != before


def test_a_file_that_is_listed_and_asked_under_one_name_stands_once(questions):
    named = {"path": str(questions), "name": "mine", "fields": ["question"]}
    (file,) = asking(questions, benchmarks=[named]).decontamination.benchmarks
    assert file.fields == ["question"]
    unnamed = asking(questions, benchmarks=[str(questions)]).decontamination.benchmarks
    assert [file.benchmark for file in unnamed] == ["questions", "mine"]


def test_a_name_stands_for_one_file(questions, tmp_path):
    with pytest.raises(ValidationError, match="'mine' stands for two sets of items"):
        asking(questions, benchmarks=[{"path": str(tmp_path / "other.jsonl"), "name": "mine"}])
    with pytest.raises(ValidationError, match="'examples' stands for two sets"):
        listed("examples.jsonl.gz")


def test_files_stand_for_their_content_and_the_name_that_verdicts_show(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text('{"text": "x"}\n')
    here, there = (listed(str(tmp_path / folder / "a.jsonl")) for folder in ("here", "there"))
    assert here.identity() == there.identity()
    assert listed({"path": str(tmp_path / "here/a.jsonl"), "name": "b"}).identity() != here.identity()
    (tmp_path / "there/a.jsonl").write_text('{"text": "y"}\n')
    assert here.identity() != there.identity()


def test_a_missing_file_is_named_when_the_key_is_asked_for(tmp_path):
    with pytest.raises(SourceUnavailable, match=r"decontaminate.benchmarks: cannot read .*missing.jsonl"):
        listed(str(tmp_path / "missing.jsonl")).identity()


def test_a_benchmark_is_named_after_its_file():
    assert ItemFile(path=Path("x/piqa.jsonl.gz")).benchmark == "piqa"
    assert ItemFile(path=Path("x/piqa.jsonl"), name="physics").benchmark == "physics"


def test_lengths_that_cannot_work_are_refused():
    with pytest.raises(ValidationError, match="min_phrase_words=9, ngram_words=8"):
        DecontaminateConfig(min_phrase_words=9)
