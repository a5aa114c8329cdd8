import pytest
from pydantic import ValidationError

from gristmill.errors import SourceUnavailable
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


def test_an_open_model_is_identified_by_its_content_wherever_it_lies(tmp_path):
    def identity(name, weights):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
        return ModelConfig(start=OpenStart(path=folder)).identity()

    here = identity("here", b"weights")
    assert here == identity("there", b"weights")
    assert here != identity("elsewhere", b"other weights")
    assert str(tmp_path) not in str(here)


def test_an_open_model_that_is_not_there_blocks_the_plan(tmp_path):
    with pytest.raises(SourceUnavailable, match="expected a Hugging Face model folder"):
        ModelConfig(start=OpenStart(path=tmp_path)).identity()


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="lr_matrices"):
        OptimConfig.model_validate({"lr_matrices": 0.1})
