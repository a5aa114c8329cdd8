"""`vocab_size: auto` against what Tao et al. print."""

import pytest

from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig, ModelShape
from gristmill.tokens.vocab_size import optimal_vocab_size


class Sized(ModelShape):
    others: int

    @property
    def parameters_without_vocabulary(self) -> int:
        return self.others


@pytest.mark.parametrize(
    ("others", "width", "published"),
    [(33_000_000, 512, 6_144), (3_000_000_000, 3200, 43_000)],
)
def test_the_size_is_the_published_one(others: int, width: int, published: int):
    shape = Sized(depth=1, width=width, heads=1, kv_heads=1, head_dim=64, ffn_width=64, others=others)
    assert optimal_vocab_size(shape) == pytest.approx(published, rel=0.015)


def test_small_models_get_no_vocabulary_that_is_hardly_more_than_bytes():
    assert optimal_vocab_size(ModelConfig(depth=1).shape) == 1024


def test_parameters_are_counted_as_the_model_has_them():
    config = ModelConfig(depth=3, width=32, head_dim=8, heads=4, kv_heads=2, ffn_width=48)
    model = build_model(config, vocab_size=10, max_seq_len=8, bos_id=0, eos_id=0, pad_id=0, seed=0)
    counted = sum(weight.numel() for weight in model.parameters()) - 2 * 10 * 32
    assert config.shape.parameters_without_vocabulary == counted
