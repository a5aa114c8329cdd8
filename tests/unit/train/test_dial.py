from itertools import pairwise
from typing import get_args

import pytest

from gristmill.model.build import build_model
from gristmill.model.config import ModelConfig
from gristmill.model.shape import Family
from gristmill.report import Report
from gristmill.train.config import PretrainConfig
from gristmill.train.dial import Facts, batch_rows_for, facts_of, facts_of_built, learning_rates, resolve


def resolved(depth: int, **fields) -> PretrainConfig:
    facts = facts_of(ModelConfig(depth=depth).shape, seq_len=256)
    return resolve(PretrainConfig.model_validate(fields), facts)


OFF = ("anneal", "early_stop")  # null says that there is none of it


def nulls(config) -> list[str]:
    fields = [each for part in (config, config.optim, config.schedule) for each in part]
    return [name for name, value in fields if value is None and name not in OFF]


def test_no_setting_is_left_at_null():
    assert nulls(PretrainConfig()) != []
    assert nulls(resolved(4)) == []


def test_the_budget_is_tokens_for_each_parameter_outside_of_the_vocabulary():
    # depth 1: attention 4·64·64 + 2·64 (norms of queries and keys), feed-forward 3·64·192, norms 2·64, and the last: 64
    facts = facts_of(ModelConfig(depth=1).shape, seq_len=256)
    assert facts.parameters == 16_384 + 128 + 36_864 + 128 + 64
    assert resolve(PretrainConfig(tokens_per_parameter=5), facts).tokens == 5 * 53_568


def test_what_is_given_stays():
    given = {
        "tokens": 1000,
        "batch_rows": 3,
        "optim": {"lr_matrix": 0.5, "weight_decay": 0.1},
        "schedule": {"warmup_steps": 0, "decay_ratio": 1.0},
    }
    config = resolved(4, **given)
    assert (config.tokens, config.batch_rows) == (1000, 3)
    assert (config.optim.lr_matrix, config.optim.weight_decay) == (0.5, 0.1)
    assert (config.schedule.warmup_steps, config.schedule.decay_ratio) == (0, 1.0)
    assert config.optim.lr_head == resolved(4, tokens=1000, batch_rows=3).optim.lr_head
    assert resolve(config, facts_of(ModelConfig(depth=9).shape, seq_len=8)) == config


def test_a_deeper_model_gets_more_tokens_and_a_step_no_fewer():
    configs = [resolved(depth) for depth in range(1, 13)]
    tokens = [config.tokens or 0 for config in configs]
    rows = [config.batch_rows or 0 for config in configs]
    assert all(a < b for a, b in pairwise(tokens))
    assert rows == sorted(rows)
    assert rows[-1] > rows[0]


def test_rows_of_a_step_are_a_power_of_two_and_at_least_one():
    rows = [batch_rows_for(tokens, seq_len=512) for tokens in (1, 10_000, 10**6, 10**9, 10**12)]
    # a million tokens: steps of 2,048; a billion: 1000^.6 = 63 times as many, 252 rows of 512, and 256 is nearest
    assert rows[2:4] == [4, 256]
    assert rows[0] == 1
    assert all(row & (row - 1) == 0 for row in rows)


def test_longer_rows_make_fewer_of_them():
    assert batch_rows_for(10**8, seq_len=256) == 4 * batch_rows_for(10**8, seq_len=1024)


@pytest.mark.parametrize("family", get_args(Family))
def test_a_model_in_memory_has_the_facts_of_its_configuration(family):
    config = ModelConfig(family=family, depth=2, width=96, heads=3)
    model = build_model(config, vocab_size=300, max_seq_len=8, bos_id=1, eos_id=0, pad_id=2, seed=0)
    assert facts_of_built(model, seq_len=8) == facts_of(config.shape, seq_len=8)


def test_tied_embeddings_count_as_vocabulary():
    shape = ModelConfig(depth=2, width=96, head_dim=32, kv_heads=1, tie_embeddings=True).shape
    assert facts_of(shape, seq_len=8) == Facts(2, 96, shape.parameters_without_vocabulary, True, 8)


def test_a_wider_model_has_a_slower_output_matrix_and_a_small_step_slower_everything():
    narrow, wide = (learning_rates(Facts(4, width, 1, False, 8), batch_tokens=2048, steps=9) for width in (128, 512))
    assert narrow == {"lr_matrix": 0.03, "lr_embedding": 0.1, "lr_head": 0.012, "lr_norm": 0.003, "weight_decay": 0.0}
    assert wide == {**narrow, "lr_head": 0.006}
    facts = Facts(4, 128, 1, False, 8)
    small, smaller, large = (learning_rates(facts, batch_tokens=size, steps=200) for size in (1024, 8, 2**20))
    assert small == pytest.approx({name: rate / 2**0.5 for name, rate in narrow.items()})
    assert (smaller, large) == (small, narrow)


def test_a_long_run_has_slower_matrices_and_output_and_the_middle_lies_between():
    facts = Facts(4, 256, 1, False, 8)
    short, middle, long, longest = (learning_rates(facts, batch_tokens=2048, steps=n) for n in (200, 383, 733, 10**6))
    assert long == longest
    # the quickstart's: 733 steps, 256 wide
    assert (long["lr_matrix"], long["lr_head"]) == (pytest.approx(0.02), pytest.approx(0.003, rel=1e-3))
    # 383 is the geometric mean of 200 and 733, so rates are geometric means too
    for name in ("lr_matrix", "lr_head"):
        assert middle[name] == pytest.approx((short[name] * long[name]) ** 0.5, rel=1e-3)
    assert {name: short[name] for name in ("lr_embedding", "lr_norm")} == {
        name: long[name] for name in ("lr_embedding", "lr_norm")
    }


def test_what_was_derived_stands_in_the_result(make_run, tmp_path):
    from gristmill.train.trainer import pretrain

    run = make_run(tokens=None, tokens_per_parameter=0.1, batch_rows=None)
    assert pretrain(run, tmp_path) == 0
    report = Report.model_validate_json((tmp_path / "result.json").read_text())
    resolved = PretrainConfig.model_validate(report.details["resolved"])
    assert nulls(run.config) != []
    assert nulls(resolved) == []
    assert report.metrics["steps"] == resolved.steps(seq_len=12)
