import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_chat_model import write_tiny_gpt2
from transformers import AutoTokenizer

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig, RewardModelConfig
from gristmill.align.data import read_pairs
from gristmill.align.dpo import pair_metrics, run_dpo
from gristmill.align.reward_model import run_reward_model
from gristmill.align.rows_config import FileRows
from gristmill.evaluate import logps
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.chat_format import encode_prompts
from gristmill.evaluate.logps import completion_logps
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
CONFIG = DpoConfig(
    epochs=6, batch_rows=4, micro_rows=4, lr=1e-3, log_every_steps=4, answered_prompts=2, answer_tokens=8
)


def test_it_prefers_what_was_chosen_and_the_reward_model_scores_its_answers(
    tiny_model: Path, examples: Path, tmp_path: Path
):
    judge, out = tmp_path / "judge", tmp_path / "out"
    judge.mkdir()
    out.mkdir()
    run_reward_model(tiny_model, examples, judge, RewardModelConfig(batch_rows=4, micro_rows=4), CPU)
    report = run_dpo(tiny_model, examples, judge, out, CONFIG, CPU)
    assert report.metrics["held_out_reward_accuracy"] == 1.0
    assert report.metrics["held_out_loss_change_ci_high"] < 0
    pairs = [json.loads(line) for line in (out / "held_out_pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == report.details["held_out_pairs"]
    assert all(re.fullmatch(r".*preferences_held_out\.jsonl:\d+", pair["row"]) for pair in pairs)
    changes = np.array([np.subtract(pair["logps"], pair["logps_before"]) for pair in pairs])
    assert np.all(changes[:, 0] > changes[:, 1])
    assert math.isfinite(report.metrics["reward_change"])
    assert (out / "model.safetensors").is_file()


def test_prompts_without_room_for_an_answer_are_not_answered(tmp_path: Path):
    """Contexts of 128 tokens, 48 of them the answer's and one the end of its turn: prompts of 79 are answered, and no
    more would be: GPT-2 has no 129th place."""
    model, judge = write_tiny_gpt2(tmp_path / "model"), tmp_path / "judge"
    path = tmp_path / "a.jsonl"
    lengths = [60 + n % 12 for n in range(60)]
    rows = [{"prompt": f"{n % 10}" * length, "chosen": f"{n}", "rejected": "No."} for n, length in enumerate(lengths)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = FileRows(paths=[str(path)], held_out=0.8)
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = {str(row.prompt): row.prompt for row in read_pairs(data, None).held_out}
    tokens = [len(prompt) for prompt in encode_prompts(tokenizer, list(asked.values()))]
    fitting = sum(length <= 128 - 48 - 1 for length in tokens)
    assert 2 <= fitting < len(tokens)
    assert 79 in tokens
    judge.mkdir()
    run_reward_model(model, None, judge, RewardModelConfig(data=data, batch_rows=8, micro_rows=8), CPU)
    config = DpoConfig(data=data, batch_rows=8, micro_rows=8)
    (tmp_path / "out").mkdir()
    report = run_dpo(model, None, judge, tmp_path / "out", config, CPU)
    assert report.details["answered_prompts"] == fitting
    assert report.details["unanswered_prompts"] == len(tokens) - fitting
    assert math.isfinite(report.metrics["reward_change"])
    (tmp_path / "no").mkdir()
    with pytest.raises(ValueError, match=r"0 of \d+ held-out prompts have at most 27 tokens"):
        run_dpo(model, None, judge, tmp_path / "no", config.model_copy(update={"answer_tokens": 100}), CPU)
    assert not (tmp_path / "no" / "metrics.jsonl").exists()


def test_the_first_loss_is_ln_2_since_policy_and_reference_start_equal(
    tiny_model: Path, examples: Path, tmp_path: Path
):
    config = DpoConfig(epochs=1, batch_rows=4, micro_rows=4, lr=1e-12, log_every_steps=1)
    run_dpo(tiny_model, examples, None, tmp_path, config, CPU)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses == pytest.approx([math.log(2)] * 2, abs=1e-4)


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_what_did_not_learn_measures_the_same_before_and_after_in_whatever_precision(
    adapter: Adapter | None, tiny_model: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And the reference of what trains in bfloat16 is in bfloat16, where the measurements are not."""
    rounded: list[bool] = []

    def spied(*arguments: Any, **named: Any) -> Any:
        rounded.append(torch.is_autocast_enabled("cpu"))
        return completion_logps(*arguments, **named)

    monkeypatch.setattr(logps, "completion_logps", spied)
    config = CONFIG.model_copy(update={"epochs": 1, "lr": 1e-30, "precision": "bf16", "adapter": adapter})
    metrics = run_dpo(tiny_model, examples, None, tmp_path, config, CPU).metrics
    assert rounded == [True, False, False]
    assert metrics["held_out_loss_change"] == pytest.approx(0, abs=1e-7)
    assert metrics["chosen_logp_change"] == pytest.approx(0, abs=1e-5)


def test_the_reference_stays_as_it_was_on_disk(tiny_model: Path, examples: Path, tmp_path: Path):
    before = load_file(tiny_model / "model.safetensors")
    run_dpo(tiny_model, examples, None, tmp_path, CONFIG, CPU)
    after = load_file(tmp_path / "model.safetensors")
    assert all(
        torch.equal(before[name], weight) for name, weight in load_file(tiny_model / "model.safetensors").items()
    )
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


def test_metrics_compare_log_probabilities_per_token_and_rewards_by_their_change():
    pairs = [Branches([0], [[1, 1, 1, 1], [1]]), Branches([0], [[1], [1, 1]])]
    before = np.array([[-8.0, -1.0], [-3.0, -4.0]])  # per token: −2 < −1 and −3 < −2
    after = np.array([[-4.0, -2.0], [-2.0, -4.0]])  # per token: −1 > −2 and −2 = −2
    metrics = pair_metrics(before, after, pairs, DpoConfig(beta=0.5))
    assert metrics["held_out_preferred_before"] == 0
    assert metrics["held_out_preferred"] == 0.75
    assert metrics["held_out_reward_accuracy"] == 1.0
    assert metrics["chosen_logp_change"] == 2.5
    assert metrics["rejected_logp_change"] == -0.5
    # margins 4 − (−1) = 5 and 1 − 0 = 1
    assert metrics["held_out_loss_before"] == pytest.approx(math.log(2))
    assert metrics["held_out_loss"] == pytest.approx((math.log1p(math.exp(-2.5)) + math.log1p(math.exp(-0.5))) / 2)
