"""Estimates by hand arithmetic, and the break-even volume by trying volumes one after another."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from flows.cli.estimate import served_model
from gristmill.ledger.options import HOURS_PER_MONTH, OptionsQuestion, break_even, estimate_options
from gristmill.ledger.serving import Load, Machine, ServedModel, estimate_serving

MODEL = ServedModel(parameters=1_000_000_000, layers=10, kv_heads=4, head_dim=50)
LOAD = Load(prompt_tokens=1000, answer_tokens=100, at_once=10)
SLOW_MEMORY = Machine(gigabytes_per_s=100, tflops=1000, hour=3.6, bandwidth_share=1, flops_share=1)


def test_decoding_bound_by_memory_by_hand():
    made = estimate_serving(MODEL, LOAD, SLOW_MEMORY, "bf16")
    # a token's keys and values: 2 · 10 layers · 4 heads · 50 numbers · 2 bytes = 8,000 bytes
    assert made.weights_bytes == 2_000_000_000
    assert made.kv_bytes == 10 * 1100 * 8_000
    assert made.memory_bytes == 2_088_000_000
    step = (2e9 + 10 * 1050 * 8_000) / 100e9
    assert made.step_s == pytest.approx(step)
    assert made.bound_by == "memory"
    prompt = 2 * 1e9 * 1000 / 1e15
    tokens_per_s = 10 * 100 / (10 * prompt + 100 * step)
    assert made.tokens_per_s == pytest.approx(tokens_per_s)
    assert made.price_per_million == pytest.approx(3.6 / 3600 / tokens_per_s * 1e6)
    assert made.machines == 1


def test_decoding_bound_by_arithmetic_and_fewer_bits_by_hand():
    machine = SLOW_MEMORY.model_copy(update={"gigabytes_per_s": 1e6, "tflops": 1.0})
    made = estimate_serving(MODEL, LOAD, machine, "int8")
    assert made.weights_bytes == 1_062_500_000
    assert made.bound_by == "arithmetic"
    assert made.step_s == pytest.approx(2 * 1e9 * 10 / 1e12)


def test_a_load_takes_whole_machines_that_are_paid_idle_too():
    alone = estimate_serving(MODEL, LOAD, SLOW_MEMORY, "bf16")
    load = LOAD.model_copy(update={"requests_per_s": 2.5 * alone.requests_per_s})
    made = estimate_serving(MODEL, load, SLOW_MEMORY, "bf16")
    assert made.machines == 3
    assert made.price_per_million == pytest.approx(alone.price_per_million * 3 / 2.5)


QUESTION = OptionsQuestion(
    volume=100,
    months=10,
    api_price=20,
    machine_hour=1,
    capacity=50,
    tflops=100,
    parameters=1e9,
    scratch_tokens=2e10,
    adapt_tokens=6e8,
    scratch_people=5000,
)


def test_options_by_hand():
    scratch, adapt, api = estimate_options(QUESTION)
    assert scratch.training == pytest.approx(6 * 1e9 * 2e10 / 1e14 / 3600 + 5000)
    assert adapt.training == pytest.approx(6 * 1e9 * 6e8 / 1e14 / 3600)
    assert adapt.per_month == 2 * 730
    assert adapt.total == pytest.approx(adapt.training + 14_600)
    assert (api.total, api.break_even) == (20_000, None)


def own(question: OptionsQuestion, training: float, volume: float) -> float:
    machines = max(1, math.ceil(volume / question.capacity - 1e-9))
    return training / question.months + machines * HOURS_PER_MONTH * question.machine_hour


@pytest.mark.parametrize("training", [0, 10, 2_000, 30_000, 300_000])
@pytest.mark.parametrize("api_price", [14.7, 20, 100])
def test_the_break_even_volume_is_the_first_of_all_volumes(training: float, api_price: float):
    question = QUESTION.model_copy(update={"api_price": api_price})
    found = break_even(question, training)
    assert found is not None
    steps = 20_000
    cheaper = [
        volume
        for volume in (found * 1.25 * step / steps for step in range(1, steps + 1))
        if own(question, training, volume) <= api_price * volume * (1 + 1e-9)
    ]
    assert cheaper[0] == pytest.approx(found, rel=2 / steps)


def test_where_a_full_machine_is_dearer_there_is_no_break_even():
    question = QUESTION.model_copy(update={"api_price": 14.0})  # a machine serves 50 million for 730
    assert break_even(question, 0) is None


def test_sizes_are_read_from_the_folder(tmp_path):
    save_file({"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float32)}, tmp_path / "model.safetensors")
    config = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert served_model(tmp_path) == ServedModel(parameters=22, layers=2, kv_heads=1, head_dim=8)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="has none of"):
        served_model(tmp_path)
