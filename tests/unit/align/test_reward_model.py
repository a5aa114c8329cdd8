import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from gristmill.align.config import RewardModelConfig
from gristmill.align.reward_model import pair_metrics, run_reward_model
from gristmill.align.rewards import rewards
from gristmill.evaluate.branches import Branches
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")


def test_it_learns_which_answer_is_preferred_and_can_be_loaded_again(tiny_model: Path, examples: Path, tmp_path: Path):
    config = RewardModelConfig(epochs=10, batch_rows=4, micro_rows=4, lr=3e-3, log_every_steps=5)
    report = run_reward_model(tiny_model, examples, tmp_path, config, CPU)
    assert report.metrics["held_out_accuracy"] == 1.0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.3 < losses[0]
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.num_labels == 1


def test_a_batch_with_padding_gives_the_rewards_of_each_row_alone(tiny_model: Path):
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1, pad_token_id=1)
    rows = [[5, 6, 7, 3], [5, 6, 7, 8, 9, 10, 3], [9, 3]]
    alone = [model(input_ids=torch.tensor([row])).logits.item() for row in rows]
    assert rewards(model, rows) == pytest.approx(alone, abs=1e-5)


def test_the_length_rule_learns_its_direction_from_training_pairs():
    shorter_wins = [Branches([0], [[1], [1, 2]])] * 3
    held_out = [Branches([0], [[1], [1, 2]]), Branches([0], [[1, 2], [1]]), Branches([0], [[1], [2]])]
    metrics = pair_metrics(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), held_out, shorter_wins, seed=0)
    assert metrics["length_baseline_accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert metrics["held_out_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
