"""Losses on given numbers are those of the papers, and both algorithms learn."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, KTOConfig
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from gristmill.align.adapter_config import Adapter
from gristmill.align.config import DpoConfig, KtoConfig, OrpoConfig, RewardModelConfig
from gristmill.align.dpo import _loss, pair_losses, run_dpo
from gristmill.align.dpo_trainer import OrpoTrainer, TokenizedDPOTrainer, odds_ratio_loss
from gristmill.align.kto import _mismatched, run_kto
from gristmill.align.kto_trainer import TokenizedKTOTrainer
from gristmill.align.reward_model import run_reward_model
from gristmill.align.rows_config import FileRows
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.logps import completion_logps
from gristmill.schema import Resources

CPU = Resources(threads=1, device="cpu")
PAIRS = [Branches([0, 5, 6], [[7, 8, 3], [9, 3]]), Branches([0, 9], [[10, 3], [11, 12, 13, 3]])]
LENGTHS = [[3, 2], [2, 4]]
REFERENCE = [[-20.0, -10.0], [-9.0, -30.0]]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def pair_loss(trainer_class: Any, folder: Path, out: Path, **settings: Any) -> tuple[float, list[list[float]]]:
    """The trainer's loss on PAIRS, and the policy's log-probabilities."""
    policy = AutoModelForCausalLM.from_pretrained(folder)
    rows = [
        {
            "prompt_ids": pair.prompt,
            "chosen_ids": pair.completions[0],
            "rejected_ids": pair.completions[1],
            "ref_chosen_logps": reference[0],
            "ref_rejected_logps": reference[1],
        }
        for pair, reference in zip(PAIRS, REFERENCE, strict=True)
    ]
    arguments = DPOConfig(
        output_dir=str(out), bf16=False, use_cpu=True, report_to="none", precompute_ref_log_probs=True, **settings
    )
    trainer = trainer_class(
        policy,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        loss = trainer.compute_loss(policy, trainer.data_collator(rows)).item()
    return loss, completion_logps(policy, PAIRS)


@pytest.mark.parametrize(
    "config",
    [
        DpoConfig(beta=0.5),
        DpoConfig(beta=0.5, length_normalized=True),
        DpoConfig(beta=0.5, loss="ipo"),
        DpoConfig(beta=0.5, loss="robust", label_noise=0.1),
    ],
    ids=["sigmoid", "per token", "ipo", "robust"],
)
def test_the_held_out_loss_is_what_trl_minimizes(config: DpoConfig, tiny_model: Path, tmp_path: Path):
    theirs, logps = pair_loss(TokenizedDPOTrainer, tiny_model, tmp_path, beta=config.beta, **_loss(config))
    ours = pair_losses(np.array(logps), np.array(REFERENCE), np.array(LENGTHS), config)
    assert ours.mean() == pytest.approx(theirs, abs=1e-4)
    other = config.model_copy(update={"beta": 0.1})
    assert pair_losses(np.array(logps), np.array(REFERENCE), np.array(LENGTHS), other).mean() != pytest.approx(theirs)


def test_the_held_out_loss_counts_each_chosen_answer_by_its_tokens():
    """ln p per token: chosen −2 and −4, rejected −2 and −4, so the odds ratio is 1 and its loss ln 2."""
    logps, lengths = np.array([[-2.0, -4.0], [-8.0, -4.0]]), np.array([[1, 2], [2, 1]])
    dpo = pair_losses(logps, logps, lengths, DpoConfig(chosen_nll_weight=0.5))
    assert dpo == pytest.approx([math.log(2) + 1, math.log(2) + 2])
    orpo = pair_losses(logps, logps, lengths, OrpoConfig(beta=0.1))
    assert orpo == pytest.approx([2 + 0.1 * math.log(2), 4 + 0.1 * math.log(2)])


def test_ipo_asks_for_a_margin_per_token_and_no_more(tiny_model: Path, tmp_path: Path):
    """(h/tokens − 1/(2β))², Azar et al. 2023, eq. 17; tokens as TRL and the authors' code have it."""
    loss, logps = pair_loss(TokenizedDPOTrainer, tiny_model, tmp_path, beta=0.5, **_loss(DpoConfig(loss="ipo")))
    margins = [
        (logps[n][0] - REFERENCE[n][0]) / LENGTHS[n][0] - (logps[n][1] - REFERENCE[n][1]) / LENGTHS[n][1]
        for n in range(2)
    ]
    assert loss == pytest.approx(sum((margin - 1.0) ** 2 for margin in margins) / 2, abs=1e-4)


def test_robust_dpo_takes_out_what_wrong_labels_add(tiny_model: Path, tmp_path: Path):
    """((1−ε) L(right) − ε L(flipped)) / (1−2ε), Chowdhury et al. 2024, arXiv:2403.00409, eq. 12."""
    settings = _loss(DpoConfig(loss="robust", label_noise=0.1))
    loss, logps = pair_loss(TokenizedDPOTrainer, tiny_model, tmp_path, beta=0.5, **settings)
    expected = 0.0
    for n in range(2):
        margin = 0.5 * ((logps[n][0] - REFERENCE[n][0]) - (logps[n][1] - REFERENCE[n][1]))
        expected += (-0.9 * math.log(sigmoid(margin)) + 0.1 * math.log(sigmoid(-margin))) / 0.8 / 2
    assert loss == pytest.approx(expected, abs=1e-4)


def test_orpos_loss_is_that_of_the_chosen_answers_and_an_odds_ratio(tiny_model: Path, tmp_path: Path):
    loss, logps = pair_loss(OrpoTrainer, tiny_model, tmp_path, beta=0.25)
    nll = -(logps[0][0] + logps[1][0]) / (LENGTHS[0][0] + LENGTHS[1][0])
    ratios = 0.0
    for n in range(2):
        odds = []
        for answer in range(2):
            p = math.exp(logps[n][answer] / LENGTHS[n][answer])
            odds.append(p / (1 - p))
        ratios += -math.log(sigmoid(math.log(odds[0] / odds[1]))) / 2
    assert loss == pytest.approx(nll + 0.25 * ratios, abs=1e-5)


def test_the_odds_ratio_is_trls():
    chosen, rejected = torch.tensor([-0.5, -2.0, -1e-3]), torch.tensor([-1.0, -0.1, -3.0])
    theirs = ORPOTrainer.odds_ratio_loss(
        SimpleNamespace(beta=1.0, accelerator=SimpleNamespace(device="cpu")),  # pyright: ignore[reportArgumentType]
        chosen,  # pyright: ignore[reportArgumentType]
        rejected,  # pyright: ignore[reportArgumentType]
    )[0]
    assert torch.allclose(odds_ratio_loss(chosen, rejected), -theirs, atol=1e-6)


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
