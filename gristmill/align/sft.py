"""Supervised fine-tuning on TRL: `python -m gristmill.align.sft --config run.yaml --out DIR`.

The loss counts the assistant's tokens alone, the end of its turn included. Batches hold rows of similar length, so
little is padding; packed, none is.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.align.config import SftConfig, SftRun
from gristmill.align.data import note_licenses, read_conversations, write_dropped
from gristmill.align.formats import Conversation
from gristmill.dedup.decontaminate_config import KeptOut
from gristmill.evaluate.chat_format import ChatTokens, printed
from gristmill.evaluate.statistics import mean_interval, paired_difference, per_token
from gristmill.program import run_program
from gristmill.report import Report
from gristmill.schema import Resources

SHOWN_ROWS = 3

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


def run_sft(
    model: Path,
    examples: Path | None,
    out: Path,
    config: SftConfig,
    resources: Resources,
    *,
    kept_out: KeptOut | None = None,
) -> Report:
    """Fine-tune the model in folder `model`; write a model folder, metrics.jsonl and learned.txt to `out`.

    learned.txt shows of the first rows, token by token, what is learned. The report compares the loss on held-out
    answers before and after, of a mix also task by task. kept_out: rows that hold one of these items do not train.
    Raises ValueError for rows, a tokenizer or a chat template
    that cannot be learned from.
    """
    from trl import SFTConfig

    from gristmill.align import adapters, trl_adapter
    from gristmill.align.rows import encode_conversations
    from gristmill.align.sft_trainer import AnswerTrainer, packed
    from gristmill.evaluate.checkpoints import load_model, prepare_process

    device = prepare_process(resources)
    rows = read_conversations(config.data, examples, kept_out)
    policy, tokenizer = load_model(model, device, quantization=adapters.quantization(config.adapter, device))
    trl_adapter.check_tokenizer(tokenizer)
    limit = trl_adapter.context_length(policy, config)
    train_rows, train_dropped = encode_conversations(tokenizer, rows.train, max_tokens=limit)
    dropped = rows.dropped + train_dropped
    held_out: list[ChatTokens] = []
    tasks: list[str] = []
    for task in dict.fromkeys(row.task for row in rows.held_out):
        of_task = [row for row in rows.held_out if row.task == task][: config.held_out_rows]
        fitting, left_out = encode_conversations(tokenizer, of_task, max_tokens=limit, held_out=True)
        held_out, tasks, dropped = held_out + fitting, tasks + [task] * len(fitting), dropped + left_out

    shown = (printed(tokenizer, row) for row in train_rows[:SHOWN_ROWS])
    (out / "learned.txt").write_text("\n".join(shown) + "\n", encoding="utf-8")

    before = _nats(policy, held_out)
    arguments = trl_adapter.trainer_arguments(
        SFTConfig, config, out, device, dataset_kwargs={"skip_prepare_dataset": True}
    )
    trainer = AnswerTrainer(
        policy,
        arguments,
        data_collator=partial(packed, config=policy.config) if config.packing else None,
        train_dataset=_dataset(train_rows),
        processing_class=tokenizer,
        peft_config=adapters.peft_config(config.adapter, "answers"),
    )
    trl_adapter.train(trainer, out, label="sft")
    policy = adapters.merged(
        trainer.model, config.adapter, out, base=model, reload=lambda: load_model(model, device)[0]
    )
    after = _nats(policy, held_out)
    trl_adapter.save_checkpoint(policy, model, out, tokenizer, config.adapter)
    note_licenses(out, "sft", rows.license, config.data.kind, examples)
    return Report(
        rows_in=rows.rows,
        rows_out=len(train_rows),
        unit="rows",
        dropped=write_dropped(dropped, out),
        metrics=_metrics(before, after, held_out, seed=config.seed),
        details={
            "learned_tokens": sum(sum(row.learned) for row in train_rows),
            "held_out_rows": len(held_out),
            **_by_task(before, after, held_out, tasks, rows.train, seed=config.seed),
            **rows.details(),
        },
    )


def _dataset(rows: list[ChatTokens]) -> "Dataset":
    from datasets import Dataset

    from gristmill.align.sft_trainer import NOT_LEARNED

    labels = [
        [token if learned else NOT_LEARNED for token, learned in zip(row.ids, row.learned, strict=True)] for row in rows
    ]
    return Dataset.from_dict(
        {"input_ids": [row.ids for row in rows], "labels": labels, "length": [len(row.ids) for row in rows]}
    )


def _nats(model: "PreTrainedModel", rows: list[ChatTokens]) -> np.ndarray:
    """−ln p of what the assistant says, summed in each row. Float64 [rows]."""
    from gristmill.evaluate.logps import completion_logps

    turns = [(number, turn) for number, row in enumerate(rows) for turn in row.branches()]
    nats = np.zeros(len(rows))
    for (number, _), logps in zip(turns, completion_logps(model, [turn for _, turn in turns]), strict=True):
        nats[number] -= sum(logps)
    return nats


def _metrics(before: np.ndarray, after: np.ndarray, rows: list[ChatTokens], *, seed: int) -> dict[str, float]:
    tokens = [sum(row.learned) for row in rows]
    change = paired_difference(per_token(after, tokens), per_token(before, tokens), seed=seed)
    return {
        "held_out_nats_per_token_before": float(before.sum() / sum(tokens)),
        "held_out_nats_per_token": float(after.sum() / sum(tokens)),
        **change.metrics("held_out_nats_per_token_change"),
        **mean_interval(after < before, seed=seed).metrics("held_out_rows_better"),
    }


def _by_task(
    before: np.ndarray,
    after: np.ndarray,
    rows: list[ChatTokens],
    tasks: list[str],
    train: Sequence[Conversation],
    *,
    seed: int,
) -> dict[str, Any]:
    """Of a mix: each task's training rows, copies counted, and its own comparison. tasks: of each held-out row."""
    if set(tasks) == {""}:
        return {}
    found = {}
    for task in dict.fromkeys(tasks):
        places = [place for place, one in enumerate(tasks) if one == task]
        found[task] = {
            "train_rows": sum(row.task == task for row in train),
            "held_out_rows": len(places),
            **_metrics(before[places], after[places], [rows[place] for place in places], seed=seed),
        }
    return {"tasks": found}


if __name__ == "__main__":
    run_program(
        "gristmill.align.sft",
        SftRun,
        lambda run, out: run_sft(run.model, run.examples, out, run.config, run.resources, kept_out=run.kept_out),
    )
