"""Benchmarks asked by EleutherAI's lm-evaluation-harness: items in, a row for each and numbers with intervals out.

What a request is, how it is scored and what counts as right are lm-eval's; definitions pin the rest. Left out: its
groups, and its standard errors (ours are intervals by bootstrap over items).
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.evaluate.baselines import expected_correct, shared_words, shortness
from gristmill.evaluate.combined import centred, combined_metrics
from gristmill.evaluate.config import EvaluateConfig, MultipleChoice
from gristmill.evaluate.harness_config import HarnessBenchmark, HubBenchmark
from gristmill.evaluate.harness_items import Items, drawn, read_items
from gristmill.evaluate.kept_answers import KeptAnswers
from gristmill.evaluate.multiple_choice import choice_metrics
from gristmill.evaluate.statistics import Interval, mean_interval
from gristmill.fingerprint import read_sha256
from gristmill.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """Of one benchmark or several. rows: of items.parquet. asked: by benchmark, how it was asked. facts: more for the
    report's details."""

    rows: list[Row]
    metrics: dict[str, float]
    asked: dict[str, Any]
    facts: dict[str, Any]


def read_benchmarks(config: EvaluateConfig) -> list[tuple[HarnessBenchmark | HubBenchmark, Items | None]]:
    """Each benchmark that lm-eval asks, with the items of its file.

    Raises ValueError where a file is none of items, or lm-eval is needed and not installed.
    """
    asked = [benchmark for benchmark in config.benchmarks if not isinstance(benchmark, MultipleChoice)]
    if asked and importlib.util.find_spec("lm_eval") is None:
        raise ValueError(
            f"evaluate.benchmarks has {asked[0].name}, which lm-evaluation-harness asks, and that is not installed; "
            "install the extra: pip install 'gristmill[benchmarks]'"
        )
    return [
        (benchmark, read_items(benchmark) if isinstance(benchmark, HarnessBenchmark) else None) for benchmark in asked
    ]


def answer_benchmarks(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    asked: Sequence[tuple[HarnessBenchmark | HubBenchmark, Items | None]],
    config: EvaluateConfig,
    kept: KeptAnswers,
) -> Answered:
    """Ask all of `read_benchmarks`, one after the other; with the numbers made of several."""
    answered = {
        each.name: kept.of(each.name, partial(answer_benchmark, model, tokenizer, each, items, config))
        for each, items in asked
    }
    correct = {name: [row["correct"] for row in found.rows] for name, found in answered.items()}
    local = [benchmark for benchmark, _ in asked if isinstance(benchmark, HarnessBenchmark)]
    metrics, facts = combined_metrics(local, correct, seed=config.seed)
    for found in answered.values():
        metrics |= found.metrics
    asked_how = {name: how for found in answered.values() for name, how in found.asked.items()}
    return Answered([row for found in answered.values() for row in found.rows], metrics, asked_how, facts)


def answer_benchmark(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    benchmark: HarnessBenchmark | HubBenchmark,
    items: Items | None,
    config: EvaluateConfig,
) -> Answered:
    """Ask the benchmark's items, or `config.limit` of them. items: those of a local file; None for a task of the hub.

    Raises ValueError where a template does not fit the items, or a hub's task cannot be had.
    """
    import torch
    from lm_eval.evaluator import evaluate

    from gristmill.evaluate.harness_model import MeasuredLM
    from gristmill.evaluate.harness_tasks import hub_task, local_task

    task = hub_task(benchmark) if isinstance(benchmark, HubBenchmark) else local_task(benchmark, items.rows)  # type: ignore[union-attr]
    of = len(task.eval_docs)
    chosen = drawn(of, config.limit, config.limit_seed)
    chat = isinstance(benchmark, HarnessBenchmark) and benchmark.format == "chat" and config.chat
    prefix = benchmark.prefix if isinstance(benchmark, HarnessBenchmark) else "tokenizer"
    with progress(f"evaluate: {benchmark.name}", total=None, unit="requests") as bar:
        lm = MeasuredLM(model, tokenizer, prefix=prefix, bar=bar)
        _check_room(benchmark, lm.max_length)
        torch.manual_seed(config.seed)
        found: Any = evaluate(
            lm=lm,
            task_dict={"tasks": {task.task_name: task}, "groups": {}},
            samples={task.task_name: chosen} if len(chosen) < of else None,
            bootstrap_iters=0,
            apply_chat_template=chat,
        )
    samples = found["samples"][task.task_name]
    samples = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    fitting = [sample for sample in samples if not any(each in sample["arguments"] for each in lm.too_long)]
    too_long, samples = len(samples) - len(fitting), fitting
    if len(samples) < 2:
        raise ValueError(
            f"{benchmark.name}: {too_long} of {too_long + len(samples)} items have answers longer than the "
            f"{lm.max_length} tokens this model was made for; leave the benchmark out"
        )
    named = list(zip(items.ids, items.numbers, strict=True)) if items else [(str(n + 1), None) for n in range(of)]
    rows = [_row(task, benchmark, sample, *named[sample["doc_id"]]) for sample in samples]
    how = {
        "n": len(rows),
        "of": of,
        "harness": f"lm_eval {version('lm_eval')}",
        "version": benchmark.version if isinstance(benchmark, HarnessBenchmark) else str(task.VERSION),
        "definition": benchmark.definition,
        "data_sha256": read_sha256(benchmark.data.path) if isinstance(benchmark, HarnessBenchmark) else "of the hub",
        "limit_seed": config.limit_seed if len(chosen) < of else None,
        "num_fewshot": task.get_config("num_fewshot"),
        "chat": chat,
        "prefix": prefix,
        "prefix_token": tokenizer.decode([lm.prefix_token_id]) if lm.begun else None,
        "precision": config.precision,
        "truncated_requests": lm.truncated,
        "items_too_long": too_long,
        "first_request": [str(part) for part in samples[0]["arguments"][0]],
    }
    if isinstance(benchmark, HarnessBenchmark):
        how |= _groups(benchmark, samples, rows)
    return Answered(rows, _metrics(benchmark, rows, samples, config.seed), {benchmark.name: how}, {})


def _check_room(benchmark: HarnessBenchmark | HubBenchmark, context: int) -> None:
    if isinstance(benchmark, HubBenchmark) or benchmark.output_type != "generate_until":
        return
    if benchmark.max_gen_toks >= context:
        raise ValueError(
            f"{benchmark.name}: max_gen_toks={benchmark.max_gen_toks} leaves no room for a prompt in this model's "
            f"context of {context} tokens; ask for less: {{extends: {benchmark.name}, max_gen_toks: {context // 2}}}"
        )


def _row(task: Any, benchmark: HarnessBenchmark | HubBenchmark, sample: Row, item_id: str, number: int | None) -> Row:
    """One row of items.parquet; baselines where there are choices. Not finite scores make an answer neither right nor
    wrong."""
    metric = benchmark.metrics[0] if isinstance(benchmark, HarnessBenchmark) else benchmark.metric
    scores = [float(one[0]) for one in sample["filtered_resps"]] if task.OUTPUT_TYPE != "generate_until" else []
    right = float(sample[metric]) if all(map(math.isfinite, scores)) else math.nan
    row: Row = {"benchmark": benchmark.name, "id": item_id, "row": number, "scores": scores, "correct": right}
    if task.OUTPUT_TYPE != "multiple_choice":
        return row
    document, choices = sample["doc"], task.doc_to_choice(sample["doc"])
    asked = task.doc_to_text(document)
    question, answer = ("", asked) if task.multiple_input else (asked, task.doc_to_target(document))
    answer = choices.index(answer) if isinstance(answer, str) else answer
    lengths = np.array([len(choice) if metric == "acc_norm" else 1 for choice in choices])
    row |= {"chosen": int(np.argmax(np.array(scores[: len(choices)]) / lengths))}
    if isinstance(answer, int):  # a task of the hub may have several right ones
        row |= {
            "answer": answer,
            "word_overlap": expected_correct(shared_words(question, choices), answer),
            "shortest": expected_correct(shortness(choices), answer),
        }
    return row


def _metrics(
    benchmark: HarnessBenchmark | HubBenchmark, rows: list[Row], samples: list[Row], seed: int
) -> dict[str, float]:
    name = benchmark.name
    accuracy = mean_interval([row["correct"] for row in rows], seed=seed)
    metrics = {**accuracy.metrics(f"{name}_accuracy"), f"{name}_n": float(len(rows))}
    if all("shortest" in row for row in rows):
        metrics |= choice_metrics(rows, seed=seed)
    if isinstance(benchmark, HubBenchmark):
        return metrics
    for metric in benchmark.metrics[1:]:
        if metric == "perplexity":
            metrics |= _perplexity([row["scores"][0] for row in rows], seed).metrics(f"{name}_perplexity")
        else:
            finite = [math.isfinite(row["correct"]) for row in rows]
            values = [float(sample[metric]) if ok else math.nan for sample, ok in zip(samples, finite, strict=True)]
            metrics |= mean_interval(values, seed=seed).metrics(f"{name}_{metric}")
    if benchmark.chance is not None:
        metrics |= Interval(
            *(centred(value, benchmark.chance) for value in (accuracy.mean, accuracy.low, accuracy.high))
        ).metrics(f"{name}_centred")
    return metrics


def _perplexity(logps: list[float], seed: int) -> Interval:
    """exp of minus the mean over items of ln p(target), as lm-eval has it: per item, not per token."""
    around = mean_interval(logps, seed=seed)
    # lm-eval's mean is sum / n, numpy's adds in another order
    mean = sum(logps) / len(logps)
    return Interval(*(_exp(-value) for value in (mean, around.high, around.low)))


def _exp(value: float) -> float:
    return float(np.exp(np.float64(value))) if value < 700 else math.inf


def _groups(benchmark: HarnessBenchmark, samples: list[Row], rows: list[Row]) -> dict[str, Any]:
    """Accuracy and n by the item's field `group_by`."""
    if benchmark.group_by is None:
        return {}
    groups: dict[str, list[float]] = {}
    for sample, row in zip(samples, rows, strict=True):
        groups.setdefault(str(sample["doc"].get(benchmark.group_by)), []).append(row["correct"])
    means = {
        group: {"accuracy": sum(right) / len(right) if all(map(math.isfinite, right)) else None, "n": len(right)}
        for group, right in sorted(groups.items())
    }
    return {"groups": means}
