"""Evaluation of one checkpoint: `python -m gristmill.evaluate.run --config run.yaml --out DIR`.

Writes items.parquet (every item's scores, for paired comparisons later) and samples.jsonl (a few greedy answers). A
number that is not finite is no metric: it stands in the details as "not finite".
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.dedup.decontaminate_config import EXAMPLES
from gristmill.evaluate.config import EvaluateConfig, EvaluateRun, MultipleChoice
from gristmill.metrics import NOT_FINITE
from gristmill.program import RESULT, run_program
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.schema import Resources

SAMPLES = "samples.jsonl"

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run_evaluate(
    model: Path,
    tokens: Path | None,
    examples: Path | None,
    parent: Path | None,
    out: Path,
    config: EvaluateConfig,
    resources: Resources,
    *,
    decontaminated: Path | None = None,
) -> Report:
    """Measure the model in folder `model`; with `parent`, an earlier evaluation, also the paired differences to it.

    tokens: token shards, whose validation split gives bits per byte; none: not measured. decontaminated: text with its
    leaks.parquet; scores are then given without the items found there, too.
    """
    import torch

    from gristmill.evaluate.checkpoints import load_model, prepare_process
    from gristmill.evaluate.found_items import without_found
    from gristmill.evaluate.harness import answer_benchmarks, read_benchmarks
    from gristmill.evaluate.kept_answers import KeptAnswers
    from gristmill.evaluate.multiple_choice import answer_items, asked_facts, choice_metrics, items_file, read_items
    from gristmill.evaluate.pairing import write_items
    from gristmill.evaluate.samples import write_samples

    device = prepare_process(resources)
    narrow = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    choices = [benchmark for benchmark in config.benchmarks if isinstance(benchmark, MultipleChoice)]
    files = {benchmark.name: items_file(benchmark, examples) for benchmark in choices}
    read = {name: read_items(path) for name, path in files.items()}
    asked = read_benchmarks(config)
    policy, tokenizer = load_model(model, device)
    kept = KeptAnswers(out, model, config)
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {"chat": config.chat}
    how: dict[str, Any] = {}
    seeds = {"seed": config.seed, "limit_seed": config.limit_seed}
    if tokens:
        with narrow:
            metrics |= _bits_per_byte(policy, model, tokens, details)
    if config.texts:
        from gristmill.evaluate.named_texts import measure_texts

        with narrow:
            bits, about = measure_texts(policy, tokenizer, config.texts, out, parent, **seeds)
        metrics, details = metrics | bits, details | about
    for benchmark in choices:
        items = read[benchmark.name]
        facts = asked_facts(tokenizer, files[benchmark.name], items[0], benchmark, chat=config.chat)
        how[benchmark.name] = facts | {"n": len(items), "precision": config.precision}
        with narrow:
            answered = answer_items(policy, tokenizer, items, benchmark, chat=config.chat)
        metrics |= choice_metrics(answered, seed=config.seed)
        rows += answered
    with narrow:
        found = answer_benchmarks(policy, tokenizer, asked, config, kept)
    rows, metrics, details = rows + found.rows, metrics | found.metrics, details | found.facts
    details["benchmarks"] = how | found.asked
    if decontaminated:
        metrics |= without_found(rows, _names_in_leaks(config), decontaminated, seed=config.seed)
    write_items(out, rows)
    how_long = {"chat": config.chat, "max_tokens": config.sample_tokens, "seed": config.seed}
    metrics |= write_samples(out / SAMPLES, policy, tokenizer, config.samples, **how_long)
    if config.toxicity:
        from gristmill.evaluate.toxicity import measure_toxicity

        toxicity, about = measure_toxicity(policy, tokenizer, config.toxicity, out, parent, **seeds)
        metrics, details = metrics | toxicity, details | about
    if config.speed:
        from gristmill.evaluate.speed import measure_speed

        del policy
        speeds, about = measure_speed(model, config.speed, resources)
        metrics, details = metrics | speeds, details | about
    if parent:
        metrics |= _differences(metrics, parent, out, config, details)
    if parent and config.judge:
        from gristmill.judge.samples import judge_samples

        judged, facts = judge_samples(out / SAMPLES, parent / SAMPLES, out, config.judge, resources, seed=config.seed)
        metrics, details = metrics | judged, details | facts
    kept.forget()
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    details |= dict.fromkeys(metrics.keys() - finite.keys(), NOT_FINITE)
    return Report(rows_in=len(rows), rows_out=len(rows), unit="items", metrics=finite, details=details)


def _names_in_leaks(config: EvaluateConfig) -> dict[str, str]:
    """What decontamination calls the items of each benchmark."""
    return {
        benchmark.name: EXAMPLES
        if isinstance(benchmark, MultipleChoice) and benchmark.data.kind == "examples"
        else benchmark.name
        for benchmark in config.benchmarks
    }


def _bits_per_byte(policy: "PreTrainedModel", model: Path, tokens: Path, details: dict[str, Any]) -> dict[str, float]:
    """On the validation rows; none, with the reason in the details, when another tokenizer made the shards."""
    from gristmill.evaluate.bits_per_byte import bits_by_group, sums_by_group
    from gristmill.tokens.groups import RowGroups
    from gristmill.tokens.reader import TokenShards
    from gristmill.tokens.tokenizer import Vocabulary, token_bytes

    shards = TokenShards(tokens)
    vocabulary = Vocabulary.load(model)
    if shards.token_bytes.tolist() != token_bytes(vocabulary.tokenizer, vocabulary.size):
        details["bits_per_byte"] = "not measured: another tokenizer than the model's made the token shards"
        return {}
    details["bits_per_byte_on"] = shards.meta["digest"]
    with progress("evaluate: bits per byte", total=None, unit="rows"):
        groups, rows = RowGroups(tokens, "validation"), range(shards.rows("validation"))
        return bits_by_group(sums_by_group(policy, shards, "validation", rows=rows, groups=groups), groups)


def _differences(
    metrics: dict[str, float], parent: Path, out: Path, config: EvaluateConfig, details: dict[str, Any]
) -> dict[str, float]:
    """This model minus its parent, benchmark by benchmark on the same items, asked alike; else the details say why
    not. A base model is asked in the plain format and its child in the chat format: they compare, and the details say
    so."""
    from gristmill.evaluate.pairing import accuracy_difference, read_correct
    from gristmill.evaluate.protocol import asked_differently, read_how_asked

    found: dict[str, float] = {}
    of_parent = read_how_asked(parent)
    for benchmark in config.benchmarks:
        name = f"{benchmark.name}_accuracy_minus_parent"
        asked, other = details["benchmarks"][benchmark.name], of_parent.get(benchmark.name)
        mine, theirs = read_correct(out, benchmark.name), read_correct(parent, benchmark.name)
        difference = asked_differently(asked, other, own_formats=True) or accuracy_difference(
            mine, theirs, seed=config.seed
        )
        if isinstance(difference, str):
            details[name] = difference
        else:
            found |= difference.metrics(name)
            asked["parent_chat"] = (other or {})["chat"]
    before = Report.model_validate_json((parent / RESULT).read_bytes())
    if {"bits_per_byte"} <= metrics.keys() & before.metrics.keys():
        if before.details.get("bits_per_byte_on") == details["bits_per_byte_on"]:
            found["bits_per_byte_minus_parent"] = metrics["bits_per_byte"] - before.metrics["bits_per_byte"]
        else:
            details["bits_per_byte_minus_parent"] = "the parent was measured on other text; evaluate it on the same"
    return found


if __name__ == "__main__":
    run_program(
        "gristmill.evaluate.run",
        EvaluateRun,
        lambda run, out: run_evaluate(
            run.model,
            run.tokens,
            run.examples,
            run.parent,
            out,
            run.config,
            run.resources,
            decontaminated=run.decontaminated,
        ),
    )
