"""Supervised fine-tuning on TRL: `python -m gristmill.align.sft --config run.yaml --out DIR`.

The loss counts the assistant's tokens alone, the end of its turn included. Rows are padded, not packed: without
FlashAttention packed rows would see each other. Batches hold rows of similar length, so little is padding.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gristmill.align.config import SftConfig, SftRun
from gristmill.align.data import read_conversations
from gristmill.evaluate.statistics import mean_interval, paired_difference, per_token
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.schema import Resources

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from gristmill.evaluate.chat_format import ChatTokens

NOT_LEARNED = -100


def run_sft(model: Path, examples: Path | None, out: Path, config: SftConfig, resources: Resources) -> Report:
    """Fine-tune the model in folder `model`; write a model folder and metrics.jsonl to `out`.

    The report compares the loss on held-out answers before and after. Raises ValueError for rows, a tokenizer or a
    chat template that cannot be learned from.
    """
    from trl import SFTConfig

    from gristmill.align import trl_adapter
    from gristmill.align.rows import encode_conversations
    from gristmill.align.sft_trainer import AnswerTrainer
    from gristmill.evaluate.checkpoints import load_model, prepare_process

    device = prepare_process(resources)
    rows = read_conversations(config.data, examples)
    policy, tokenizer = load_model(model, device)
    trl_adapter.check_tokenizer(tokenizer)
    limit = trl_adapter.context_length(policy, config)
    train_rows, train_dropped = encode_conversations(tokenizer, rows.train, max_tokens=limit)
    held_out, held_out_dropped = encode_conversations(
        tokenizer, rows.held_out[: config.held_out_rows], max_tokens=limit
    )
    dropped = rows.dropped + train_dropped + held_out_dropped

    before = _nats(policy, held_out)
    arguments = SFTConfig(
        **trl_adapter.trainer_arguments(config, out, device), dataset_kwargs={"skip_prepare_dataset": True}
    )
    trainer = AnswerTrainer(policy, arguments, train_dataset=_dataset(train_rows), processing_class=tokenizer)
    trl_adapter.train(trainer, out, label="sft")
    after = _nats(policy, held_out)
    trl_adapter.save_checkpoint(policy, model, out, tokenizer)
    return Report(
        rows_in=len(rows.train) + len(rows.held_out) + rows.dropped.total(),
        rows_out=len(train_rows),
        unit="rows",
        dropped=dict(sorted(dropped.items())),
        metrics=_metrics(before, after, held_out, seed=config.seed),
        details={"learned_tokens": sum(sum(row.learned) for row in train_rows), "held_out_rows": len(held_out)},
    )


def _dataset(rows: "list[ChatTokens]") -> "Dataset":
    from datasets import Dataset

    labels = [
        [token if learned else NOT_LEARNED for token, learned in zip(row.ids, row.learned, strict=True)] for row in rows
    ]
    return Dataset.from_dict(
        {"input_ids": [row.ids for row in rows], "labels": labels, "length": [len(row.ids) for row in rows]}
    )


def _nats(model: "PreTrainedModel", rows: "list[ChatTokens]") -> np.ndarray:
    """−ln p of what the assistant says, summed in each row. Float64 [rows]."""
    from gristmill.evaluate.logps import completion_logps

    turns = [(number, turn) for number, row in enumerate(rows) for turn in row.branches()]
    nats = np.zeros(len(rows))
    for (number, _), logps in zip(turns, completion_logps(model, [turn for _, turn in turns]), strict=True):
        nats[number] -= sum(logps)
    return nats


def _metrics(before: np.ndarray, after: np.ndarray, rows: "list[ChatTokens]", *, seed: int) -> dict[str, float]:
    tokens = [sum(row.learned) for row in rows]
    change = paired_difference(per_token(after, tokens), per_token(before, tokens), seed=seed)
    better = mean_interval(after < before, seed=seed)
    return {
        "held_out_nats_per_token_before": float(before.sum() / sum(tokens)),
        "held_out_nats_per_token": float(after.sum() / sum(tokens)),
        **change.metrics("held_out_nats_per_token_change"),
        "held_out_rows_better": better.mean,
    }


if __name__ == "__main__":
    run_program(
        "gristmill.align.sft",
        SftRun,
        lambda run, out: run_sft(run.model, run.examples, out, run.config, run.resources),
    )
