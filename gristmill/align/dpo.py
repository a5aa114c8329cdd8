"""Preference pairs, DPO or ORPO: `python -m gristmill.align.dpo --config run.yaml --out DIR`.

DPO's reference is the model the policy starts from. Its log-probabilities are computed once, before training, from the
folder on disk: a reference that TRL loads again by name can be another model. They have the precision that trains:
beside a float32 reference a bfloat16 policy differs from it by more before it has learned.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gristmill.align.config import DpoConfig, DpoRun, OrpoConfig
from gristmill.align.data import note_licenses, read_pairs, write_dropped
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.evaluate.statistics import mean_interval, paired_difference
from gristmill.program import run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from gristmill.evaluate.branches import Branches


def run_dpo(
    model: Path,
    examples: Path | None,
    reward_model: Path | None,
    out: Path,
    config: DpoConfig | OrpoConfig,
    resources: Resources,
    *,
    kept_out: KeptOut | None = None,
) -> Report:
    """Optimize the policy in folder `model` on preference pairs; write a model folder and metrics.jsonl to `out`.

    The report compares held-out pairs before and after and, given a reward model, its scores of greedy answers;
    held_out_pairs.jsonl has each of those pairs.
    kept_out: as in `run_sft`.
    """
    import torch
    from trl import DPOConfig

    from gristmill.align import adapters, trl_adapter
    from gristmill.align.dpo_trainer import PairTrainer, pairs_dataset
    from gristmill.align.held_out_answers import scored_answers
    from gristmill.align.rows import encode_pairs
    from gristmill.evaluate.checkpoints import load_model, prepare_process
    from gristmill.evaluate.logps import completion_logps

    device = prepare_process(resources)
    pairs = read_pairs(config.data, examples, kept_out)
    policy, tokenizer = load_model(model, device, quantization=adapters.quantization(config.adapter, device))
    trl_adapter.check_tokenizer(tokenizer)
    limit = trl_adapter.context_length(policy, config)
    train_pairs, train_dropped = encode_pairs(tokenizer, pairs.train, max_tokens=limit)
    held_out, held_out_dropped = encode_pairs(
        tokenizer, pairs.held_out[: config.held_out_rows], max_tokens=limit, held_out=True
    )
    dropped = pairs.dropped + train_dropped + held_out_dropped
    judge = scored_answers(reward_model, policy, tokenizer, [pair.prompt for pair in held_out], config)

    reference = np.zeros((len(train_pairs), 2))
    if isinstance(config, DpoConfig):
        as_trained = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
        with progress("align: reference", total=len(train_pairs), unit="pairs") as bar, as_trained:
            reference = np.array(completion_logps(policy, train_pairs, bar=bar))
    before = np.array(completion_logps(policy, held_out))
    scores_before = judge.scores(policy) if judge else None
    arguments = trl_adapter.trainer_arguments(DPOConfig, config, out, device, precompute_ref_log_probs=True)
    trainer = PairTrainer(
        policy,
        config,
        args=arguments,
        train_dataset=pairs_dataset(train_pairs, reference),
        processing_class=tokenizer,
        peft_config=adapters.peft_config(config.adapter, "answers"),
    )
    trl_adapter.train(trainer, out, label="align")
    policy = adapters.merged(
        trainer.model, config.adapter, out, base=model, reload=lambda: load_model(model, device)[0]
    )
    after = np.array(completion_logps(policy, held_out))
    metrics = pair_metrics(before, after, held_out, config)
    if judge and scores_before:
        metrics |= judge.metrics(scores_before, judge.scores(policy), seed=config.seed)
    trl_adapter.save_checkpoint(policy, model, out, tokenizer, config.adapter)
    _write_pairs(before, after, held_out, out)
    note_licenses(out, "align", pairs.license, config.data.kind, examples)
    return Report(
        rows_in=pairs.rows,
        rows_out=len(train_pairs),
        unit="pairs",
        dropped=write_dropped(dropped, out),
        metrics=metrics,
        details={
            "held_out_pairs": len(held_out),
            "answered_prompts": len(judge.prompts) if judge else 0,
            "unanswered_prompts": judge.too_long if judge else 0,
            **pairs.details(),
        },
    )


def pair_metrics(
    before: np.ndarray, after: np.ndarray, pairs: "list[Branches]", config: DpoConfig | OrpoConfig
) -> dict[str, float]:
    """The objective, how often chosen beats rejected, by reward and by log-probability per token, and where
    probability went.

    before, after: [pairs, 2], ln p of chosen and rejected. The reward is proportional to after − before, so it says
    nothing before training.
    """
    import torch

    from gristmill.align.pair_losses import pair_losses

    seed, lengths = config.seed, _lengths(pairs)
    rewards = after - before
    start, tokens = torch.from_numpy(before), torch.from_numpy(lengths)
    losses_before, losses = (
        pair_losses(torch.from_numpy(logps), start, tokens, config).numpy() for logps in (before, after)
    )
    preferred_before = _first_is_larger(before / lengths)
    preferred = _first_is_larger(after / lengths)
    return {
        "held_out_loss_before": float(losses_before.mean()),
        "held_out_loss": float(losses.mean()),
        **paired_difference(losses, losses_before, seed=seed).metrics("held_out_loss_change"),
        **mean_interval(_first_is_larger(rewards), seed=seed).metrics("held_out_reward_accuracy"),
        "held_out_preferred_before": float(preferred_before.mean()),
        "held_out_preferred": float(preferred.mean()),
        **paired_difference(preferred, preferred_before, seed=seed).metrics("held_out_preferred_change"),
        **paired_difference(after[:, 0], before[:, 0], seed=seed).metrics("chosen_logp_change"),
        "rejected_logp_change": float(rewards[:, 1].mean()),
    }


def _lengths(pairs: "list[Branches]") -> np.ndarray:
    """Tokens of chosen and rejected. [pairs, 2]"""
    return np.array([[len(answer) for answer in pair.completions] for pair in pairs])


def _write_pairs(before: np.ndarray, after: np.ndarray, pairs: "list[Branches]", out: Path) -> None:
    """held_out_pairs.jsonl: where each pair comes from, the tokens of both answers and their ln p; chosen first."""
    with (out / "held_out_pairs.jsonl").open("w", encoding="utf-8") as file:
        for pair, tokens, logps_before, logps in zip(
            pairs, _lengths(pairs).tolist(), before.tolist(), after.tolist(), strict=True
        ):
            row = {"row": pair.row, "tokens": tokens, "logps_before": logps_before, "logps": logps}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _first_is_larger(values: np.ndarray) -> np.ndarray:
    """1, or ½ where both are equal. values: [pairs, 2]"""
    return (np.sign(values[:, 0] - values[:, 1]) + 1) / 2


if __name__ == "__main__":
    run_program(
        "gristmill.align.dpo",
        DpoRun,
        lambda run, out: run_dpo(
            run.model,
            run.examples,
            run.reward_model,
            out,
            run.config,
            run.resources,
            kept_out=run.kept_out,
        ),
    )
