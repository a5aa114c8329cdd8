from pathlib import Path

import pytest

from gristmill.align.config import DpoConfig, JsonlRows, SftConfig
from gristmill.schema import SourceUnavailable


def test_the_same_rows_under_another_path_are_the_same_stage(tmp_path: Path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"instruction": "x", "output": "y"}\n')
    first, second = (SftConfig(data=JsonlRows(path=tmp_path / name)) for name in ("a.jsonl", "b.jsonl"))
    assert first.identity() == second.identity()
    (tmp_path / "b.jsonl").write_text('{"instruction": "x", "output": "z"}\n')
    assert first.identity() != second.identity()


def test_a_missing_file_blocks_the_plan_instead_of_being_guessed(tmp_path: Path):
    with pytest.raises(SourceUnavailable, match=r"gone\.jsonl"):
        SftConfig(data=JsonlRows(path=tmp_path / "gone.jsonl")).identity()


def test_how_often_to_log_and_how_to_split_a_batch_decide_no_weight():
    assert SftConfig(log_every_steps=1, micro_rows=16).identity() == SftConfig().identity()
    assert DpoConfig(beta=0.2).identity() != DpoConfig().identity()


def test_a_batch_is_a_whole_number_of_forward_passes():
    with pytest.raises(ValueError, match="micro_rows=24 does not divide batch_rows=32"):
        SftConfig(micro_rows=24)
