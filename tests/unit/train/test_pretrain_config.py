import pytest
from pydantic import ValidationError

from gristmill.model.config import ModelConfig, OpenStart
from gristmill.train.config import OptimConfig, PretrainConfig


def test_the_budget_is_rounded_up_to_whole_steps():
    assert PretrainConfig(tokens=1001, batch_rows=2).steps(seq_len=100) == 6


def test_how_often_to_save_is_not_part_of_the_identity():
    assert PretrainConfig(checkpoint_every_s=1).identity() == PretrainConfig(checkpoint_every_s=99).identity()
    assert PretrainConfig(seed=1).identity() != PretrainConfig(seed=2).identity()


def test_a_shape_that_is_not_used_is_not_part_of_the_identity():
    started = {"start": {"kind": "artifact", "artifact": "checkpoint/pretrain-0"}}
    one, other = (ModelConfig.model_validate({**started, "depth": depth}) for depth in (2, 3))
    assert one.identity() == other.identity()


def test_an_open_model_is_an_input_whose_place_says_nothing(tmp_path):
    assert ModelConfig(start=OpenStart(path=tmp_path)).identity() == {"start": {"kind": "open"}}


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="lr_matrices"):
        OptimConfig.model_validate({"lr_matrices": 0.1})
