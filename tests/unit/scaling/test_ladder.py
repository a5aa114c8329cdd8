"""Which trainings a ladder consists of, and what they cost."""

import pytest

from gristmill.model.config import ModelConfig
from gristmill.scaling.config import ScalingConfig
from gristmill.scaling.ladder import ladder, model_at
from gristmill.train.config import PretrainConfig
from gristmill.train.cost import flops_per_token, scaling_parameters

CONFIG = ScalingConfig(depths=[1, 2, 3, 4], width_per_layer=16, tokens_per_parameter=[1.25, 2.5, 5.0])


def rungs(config: ScalingConfig = CONFIG, pretrain: PretrainConfig | None = None):
    return ladder(config, model=ModelConfig(), pretrain=pretrain or PretrainConfig(), vocab_size=1024, seq_len=128)


def test_parameters_and_operations_by_hand():
    shape = model_at(2, CONFIG, ModelConfig()).shape
    assert (shape.width, shape.heads, shape.head_dim, shape.ffn_width) == (32, 2, 16, 128)
    # a layer: queries, keys, values, output 4·32², feed-forward 3·32·128, norms of width 2·32 and of heads 2·16
    layers = 2 * (4 * 32**2 + 3 * 32 * 128 + 2 * 32 + 2 * 16) + 32
    assert scaling_parameters(shape, 1024) == layers + 1024 * 32
    assert flops_per_token(shape, 1024, 128) == 6 * (layers + 1024 * 32) + 12 * 2 * 32 * 128


def test_each_depth_gets_each_budget_of_tokens_per_parameter_and_keeps_all_other_settings():
    made = rungs(pretrain=PretrainConfig(seed=7, batch_rows=4))
    assert [rung.name for rung in made] == [f"d{d}-x{k}" for d in (1, 2, 3, 4) for k in ("1.25", "2.5", "5")]
    for rung, ratio in zip(made, [1.25, 2.5, 5.0] * 4, strict=True):
        assert rung.pretrain.tokens == round(ratio * scaling_parameters(rung.model.shape, 1024))
        assert (rung.pretrain.seed, rung.pretrain.batch_rows) == (7, 4)


def test_without_a_width_of_its_own_the_ladder_has_the_models_of_the_dial():
    plain = ScalingConfig(depths=[1, 2, 3, 4])
    assert model_at(3, plain, ModelConfig(depth=8)) == ModelConfig(depth=3)


def test_a_limit_on_operations_leaves_out_the_dearest_rungs():
    made = rungs(CONFIG.model_copy(update={"max_flops": 2e12}))
    assert [rung.name for rung in rungs() if rung not in made] == ["d4-x5"]


def test_trainings_that_have_hardly_begun_are_left_out():
    """By hand: 65,760 parameters at depth 2, 132,528 at 3, 279,232 at 4."""
    config = CONFIG.model_copy(update={"depths": [2, 3, 4, 5], "min_tokens": 328_800})
    kept = [rung.name for rung in rungs(config) if rung.model.depth < 5]
    assert kept == ["d2-x5", "d3-x2.5", "d3-x5", "d4-x1.25", "d4-x2.5", "d4-x5"]


@pytest.mark.parametrize("limit", [{"max_flops": 1e10}, {"min_tokens": 150_000}])
def test_a_limit_that_leaves_no_ladder_is_refused(limit: dict):
    with pytest.raises(ValueError, match="every depth needs a rung"):
        rungs(CONFIG.model_copy(update=limit))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"depths": [1, 2, 3]}, "five unknowns"),
        ({"tokens_per_parameter": [2.0]}, "five unknowns"),
        ({"depths": [4, 3, 2, 1]}, "smallest first"),
    ],
)
def test_a_ladder_that_no_law_can_be_fitted_to_is_refused(settings: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        ScalingConfig(**settings)
