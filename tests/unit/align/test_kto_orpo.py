"""KTO's loss on given numbers is the paper's, and KTO and ORPO learn."""

import json
import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import KTOConfig

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import KtoConfig, OrpoConfig, RewardModelConfig
from gristmill.align.dpo import run_dpo
from gristmill.align.kto import _mismatched, run_kto
from gristmill.align.kto_trainer import TokenizedKTOTrainer
from gristmill.align.reward_model import run_reward_model
from gristmill.align.rows_config import FileRows
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_ktos_loss_compares_each_answer_with_the_drift_on_mismatched_ones(tiny_model: Path, tmp_path: Path):
    """λ_D (1 − σ(β(r − z))) and λ_U (1 − σ(β(z − r))), z = max(0, mean drift); Ethayarajh et al. 2024, eq. 8."""
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    rows = [
        (Branches([0, 5, 6], [[7, 8, 3], [10, 3]]), True),
        (Branches([0, 9], [[10, 3], [7, 8, 3]]), False),
    ]
    logps = completion_logps(policy, [row for row, _ in rows])
    rewards, drift = [2.0, -3.0], [0.5, 1.5]
    dataset = [
        {
            "prompt_ids": row.prompt,
            "completion_ids": row.completions[0],
            "KL_completion_ids": row.completions[1],
            "label": desirable,
            "ref_logps": logps[n][0] - rewards[n],
            "ref_KL_logps": logps[n][1] - drift[n],
        }
        for n, (row, desirable) in enumerate(rows)
    ]
    arguments = KTOConfig(
        output_dir=str(tmp_path),
        beta=0.2,
        desirable_weight=1.5,
        undesirable_weight=0.5,
        bf16=False,
        use_cpu=True,
        report_to="none",
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
    )
    trainer = TokenizedKTOTrainer(
        policy,
        args=arguments,
        train_dataset=Dataset.from_list(dataset),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )
    with torch.no_grad():
        loss = trainer.compute_loss(policy, trainer.data_collator(dataset)).item()
    expected = (1.5 * (1 - sigmoid(0.2 * (2.0 - 1.0))) + 0.5 * (1 - sigmoid(0.2 * (1.0 + 3.0)))) / 2
    assert loss == pytest.approx(expected, abs=1e-5)


def test_a_mismatched_answer_is_that_of_another_row_of_the_batch():
    rows = [(Branches([n], [[100 + n]]), n % 2 == 0) for n in range(8)]
    found = _mismatched(rows, rows_per_batch=4, max_tokens=10, seed=1)
    for first in (0, 4):
        batch = [row for row, _ in found[first : first + 4]]
        assert sorted(row.completions[1][0] for row in batch) == sorted(row.completions[0][0] for row in batch)
    assert all(row.completions[0] == [100 + row.prompt[0]] != row.completions[1] for row, _ in found)
    assert [row.prompt for row, _ in found] != [[n] for n in range(8)]


@pytest.mark.parametrize("seed", range(5))
def test_a_mismatched_answer_is_to_another_prompt_and_fits_behind_this_one(seed: int):
    """Nine rows of three prompts; the last batch of four is a single row."""
    rows = [(Branches([0] * (1 + n % 3), [[100 + n] * 4]), n % 2 == 0) for n in range(9)]
    asked = {row.completions[0][0]: row.prompt for row, _ in rows}
    found = _mismatched(rows, rows_per_batch=4, max_tokens=6, seed=seed)
    assert sorted(row.completions[0][0] for row, _ in found) == sorted(asked)
    assert all(asked[row.completions[1][0]] != row.prompt for row, _ in found)
    assert all(len(row.completions[1]) == min(4, 6 - len(row.prompt)) for row, _ in found)
    with pytest.raises(ValueError, match="all answers to train on are to one prompt"):
        _mismatched(rows[::3], rows_per_batch=4, max_tokens=6, seed=seed)


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_orpo_makes_chosen_answers_likelier(adapter: Adapter | None, tiny_model: Path, examples: Path, tmp_path: Path):
    config = OrpoConfig(adapter=adapter, epochs=8, batch_rows=4, micro_rows=4, lr=3e-3 if adapter is None else 1e-2)
    metrics = run_dpo(tiny_model, examples, None, tmp_path, config, CPU).metrics
    assert metrics["chosen_logp_change_ci_low"] > 0
    assert metrics["held_out_reward_accuracy"] == 1.0
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["loss"] < logged[0]["loss"]


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_kto_learns_from_pairs_as_labelled_answers(
    adapter: Adapter | None, tiny_model: Path, examples: Path, tmp_path: Path
):
    judge, out = tmp_path / "judge", tmp_path / "out"
    judge.mkdir()
    out.mkdir()
    run_reward_model(tiny_model, examples, judge, RewardModelConfig(batch_rows=4, micro_rows=4), CPU)
    config = KtoConfig(
        adapter=adapter, epochs=10, batch_rows=4, micro_rows=4, lr=1e-3 if adapter is None else 1e-2, answer_tokens=8
    )
    report = run_kto(tiny_model, examples, judge, out, config, CPU)
    assert report.metrics["held_out_reward_auc"] == 1.0
    assert math.isfinite(report.metrics["reward_change"])
    assert report.details["desirable"] == 8
    assert (out / "model.safetensors").is_file()


def test_kto_reads_single_labels_and_needs_both_kinds(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt": f"q{n}", "completion": f"a{n}", "label": n % 2 == 0} for n in range(40)]
    path = tmp_path / "a.jsonl"
    config = KtoConfig(data=FileRows(paths=[str(path)], held_out=0.3), batch_rows=8, micro_rows=8)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run_kto(tiny_model, None, None, tmp_path, config, CPU)
    assert report.details["formats"] == {"kto prompt": 40}
    path.write_text("".join(json.dumps({**row, "label": True}) + "\n" for row in rows))
    with pytest.raises(ValueError, match=r"of \d+ answers to train on are desirable; KTO needs at least two of each"):
        run_kto(tiny_model, None, None, tmp_path, config, CPU)
