import pytest
from pydantic import ValidationError

from gristmill.model.config import ModelConfig, ModelShape


def test_depth_alone_decides_every_size():
    # 6 layers: width 6·64 = 384, 384/64 = 6 heads, 8/3·384 = 1024 is a multiple of 64 already
    assert ModelConfig(depth=6).shape == ModelShape(
        depth=6, width=384, heads=6, kv_heads=6, head_dim=64, ffn_width=1024
    )


def test_the_feed_forward_width_is_rounded_up_to_a_multiple_of_64():
    assert ModelConfig(depth=4).shape.ffn_width == 704  # 8/3·256 = 682.7


def test_a_given_size_wins_over_the_derived_one():
    shape = ModelConfig(depth=2, width=96, head_dim=32, kv_heads=1, ffn_width=100).shape
    assert (shape.heads, shape.kv_heads, shape.ffn_width) == (3, 1, 100)


def test_key_heads_must_divide_query_heads():
    with pytest.raises(ValidationError, match="kv_heads=3 does not divide heads=4"):
        ModelConfig(depth=4, kv_heads=3)
