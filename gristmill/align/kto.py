"""Labelled answers, KTO on TRL: `python -m gristmill.align.kto --config run.yaml --out DIR`.

KTO asks how far the policy has moved from the reference on answers that do not belong to their prompts, to tell a
reward from a drift. TRL estimates it from a second answer beside each row's own, which `_mismatched` puts there.
"""

import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gristmill.align.config import KtoConfig, KtoRun
from gristmill.align.data import note_licenses, read_labelled, write_dropped
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.evaluate.branches import Branches
from gristmill.evaluate.statistics import mean_interval
from gristmill.program import run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from gristmill.progress import Bar

Answers = list[tuple[Branches, bool]]


def run_kto(
    model: Path,
    examples: Path | None,
    reward_model: Path | None,
    out: Path,
    config: KtoConfig,
    resources: Resources,
    *,
    kept_out: KeptOut | None = None,
) -> Report:
    """Optimize the policy in folder `model` on labelled answers; write a model folder and metrics.jsonl to `out`.

    The report says how probable held-out answers of both kinds have become, and, given a reward model, how it scores
    greedy answers before and after. kept_out: as in `run_sft`. Raises ValueError when either part lacks one of the
    kinds.
    """
    from trl import KTOConfig

    from gristmill.align import adapters, trl_adapter
    from gristmill.align.held_out_answers import scored_answers
    from gristmill.align.kto_trainer import TokenizedKTOTrainer
    from gristmill.align.rows import encode_labelled
    from gristmill.evaluate.checkpoints import load_model, prepare_process

    device = prepare_process(resources)
    rows = read_labelled(config.data, examples, kept_out)
    policy, tokenizer = load_model(model, device, quantization=adapters.quantization(config.adapter, device))
    trl_adapter.check_tokenizer(tokenizer)
    limit = trl_adapter.context_length(policy, config)
    train_rows, train_dropped = encode_labelled(tokenizer, rows.train, max_tokens=limit)
    held_out, held_out_dropped = encode_labelled(
        tokenizer, rows.held_out[: config.held_out_rows], max_tokens=limit, held_out=True
    )
    _check_both_kinds(train_rows, held_out)
    judge = scored_answers(reward_model, policy, tokenizer, [row.prompt for row, _ in held_out], config)

    batches = _mismatched(train_rows, rows_per_batch=config.micro_rows, max_tokens=limit, seed=config.seed)
    with progress("align: reference", total=2 * len(batches), unit="answers") as bar:
        dataset = _dataset(policy, batches, bar)
    before = _logps(policy, held_out)
    scores_before = judge.scores(policy) if judge else None
    arguments = trl_adapter.trainer_arguments(
        KTOConfig,
        config,
        out,
        device,
        train_sampling_strategy="sequential",  # the rows of a batch belong together
        beta=config.beta,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
        precompute_ref_log_probs=True,
    )
    trainer = TokenizedKTOTrainer(
        policy,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=adapters.peft_config(config.adapter, "answers"),
    )
    with trl_adapter.learned_positions_alone():
        trl_adapter.train(trainer, out, label="align")
    policy = adapters.merged(
        trainer.model, config.adapter, out, base=model, reload=lambda: load_model(model, device)[0]
    )
    metrics = _metrics(_logps(policy, held_out) - before, held_out, seed=config.seed)
    if judge and scores_before:
        metrics |= judge.metrics(scores_before, judge.scores(policy), seed=config.seed)
    trl_adapter.save_checkpoint(policy, model, out, tokenizer, config.adapter)
    note_licenses(out, "align", rows.license, config.data.kind, examples)
    return Report(
        rows_in=rows.rows,
        rows_out=len(train_rows),
        unit="answers",
        dropped=write_dropped(rows.dropped + train_dropped + held_out_dropped, out),
        metrics=metrics,
        details={
            "desirable": sum(desirable for _, desirable in train_rows),
            "held_out_answers": len(held_out),
            "answered_prompts": len(judge.prompts) if judge else 0,
            "unanswered_prompts": judge.too_long if judge else 0,
            **rows.details(),
        },
    )


def _check_both_kinds(train_rows: Answers, held_out: Answers) -> None:
    for part, answers in (("to train on", train_rows), ("held out", held_out)):
        desirable = sum(label for _, label in answers)
        if not 2 <= desirable <= len(answers) - 2:
            raise ValueError(
                f"{desirable} of {len(answers)} answers {part} are desirable; KTO needs at least two of each kind there"
            )


def _mismatched(rows: Answers, *, rows_per_batch: int, max_tokens: int, seed: int) -> Answers:
    """Shuffled rows, each with an answer to another prompt as a second completion, cut where the context ends.

    It is that of the nearest row before it in its batch (the last one stands before the first), or of the nearest one
    anywhere where the batch has no other prompt, as a last batch of one row. Raises ValueError for a single prompt.
    """
    order = list(rows)
    random.Random(seed).shuffle(order)
    result = []
    for place, (row, desirable) in enumerate(order):
        first = place - place % rows_per_batch
        batch = order[first : first + rows_per_batch]
        nearest = chain(_backwards(batch, place - first), _backwards(order, place))
        other = next((one.completions[0] for one, _ in nearest if one.prompt != row.prompt), None)
        if other is None:
            raise ValueError("all answers to train on are to one prompt; KTO compares them with answers to others")
        result.append((Branches(row.prompt, [row.completions[0], other[: max_tokens - len(row.prompt)]]), desirable))
    return result


def _backwards(rows: Answers, place: int) -> Iterator[tuple[Branches, bool]]:
    """The other rows, from the one before a place round to the one behind it."""
    return (rows[place - step] for step in range(1, len(rows)))


def _dataset(policy: "PreTrainedModel", rows: Answers, bar: "Bar") -> "Dataset":
    from datasets import Dataset

    from gristmill.evaluate.logps import completion_logps

    reference = np.array(completion_logps(policy, [row for row, _ in rows], bar=bar))
    return Dataset.from_dict(
        {
            "prompt_ids": [row.prompt for row, _ in rows],
            "completion_ids": [row.completions[0] for row, _ in rows],
            "KL_completion_ids": [row.completions[1] for row, _ in rows],
            "label": [desirable for _, desirable in rows],
            "ref_logps": reference[:, 0],
            "ref_KL_logps": reference[:, 1],
        }
    )


def _logps(model: "PreTrainedModel", rows: Answers) -> np.ndarray:
    from gristmill.evaluate.logps import completion_logps

    return np.array(completion_logps(model, [row for row, _ in rows]))[:, 0]


def _metrics(change: np.ndarray, rows: Answers, *, seed: int) -> dict[str, float]:
    """change: [answers], ln p after − ln p before, which is the reward over beta."""
    desirable = np.array([label for _, label in rows])
    good, bad = change[desirable], change[~desirable]
    above = (np.sign(good[:, None] - bad[None, :]) + 1) / 2
    return {
        "held_out_reward_auc": float(above.mean()),
        **mean_interval(good, seed=seed).metrics("desirable_logp_change"),
        **mean_interval(bad, seed=seed).metrics("undesirable_logp_change"),
    }


if __name__ == "__main__":
    run_program(
        "gristmill.align.kto",
        KtoRun,
        lambda run, out: run_kto(
            run.model,
            run.examples,
            run.reward_model,
            out,
            run.config,
            run.resources,
            kept_out=run.kept_out,
        ),
    )
