import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
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


def test_confidence_is_compared_with_how_often_it_is_right():
    # margins of logit(.8) four times, right three times: as sure as .8, right .75; and one sure error of logit(.9)
    margins = [np.log(4), np.log(4), np.log(4), -np.log(4), -np.log(9)]
    scores = np.array([[margin, 0.0] for margin in margins])
    pairs = [Branches([0], [[1] * tokens, [1]]) for tokens in (5, 4, 3, 2, 1)]
    metrics = pair_metrics(scores, pairs, pairs, seed=0)
    assert metrics["held_out_confidence"] == pytest.approx((4 * 0.8 + 0.9) / 5)
    assert metrics["held_out_overconfidence"] == pytest.approx((4 * 0.8 + 0.9) / 5 - 3 / 5)
    # five pairs are five parts: three miss by .2, one by .8, one by .9
    assert metrics["held_out_calibration_error"] == pytest.approx((3 * 0.2 + 0.8 + 0.9) / 5)
    assert metrics["held_out_length_correlation"] == pytest.approx(spearmanr(margins, (4, 3, 2, 1, 0))[0])
