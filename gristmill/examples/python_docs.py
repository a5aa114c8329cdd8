"""Examples from docstrings: what does this function do? To train on, and held out to be judged by.

    sft.jsonl, sft_held_out.jsonl                    the question and the docstring's first sentence
    preferences.jsonl, preferences_held_out.jsonl    that sentence against another function's, or itself damaged
    benchmark.jsonl                                  that sentence among three other functions'
    held_out.jsonl                                   docstrings of all functions in the benchmark, which
                                                     `decontaminate` cuts out of the pages that train

The page's split decides: `train` makes rows to train on, `validation` the two `…_held_out` files, `held_out` the
benchmark. Whatever copies a benchmark function's docstring, or nearly, makes no row.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.crawl.docstrings import iter_modules
from gristmill.examples.config import ExamplesConfig
from gristmill.examples.copies import Copies
from gristmill.examples.damage import MIN_WORDS, damaged
from gristmill.examples.functions import Function, seeded_digest, usable_functions
from gristmill.examples.matching import pools
from gristmill.examples.overlap import BASELINES, expected_accuracy
from gristmill.progress import progress
from gristmill.report import Report
from gristmill.text.config import SplitConfig
from gristmill.text.words import text_hash

WRONG_CHOICES = 3


@dataclass(frozen=True)
class Match:
    """A function, and functions whose summaries are wrong answers for it."""

    function: Function
    wrong: tuple[Function, ...]


def run_examples(out: Path, config: ExamplesConfig, *, split: SplitConfig) -> Report:
    """Write the six files described above; rows are counted in functions.

    Raises ValueError for a package that is not installed, and for fewer than `min_benchmark_items` items.
    """
    dropped: Counter[str] = Counter()
    skipped_modules: Counter[str] = Counter()
    modules = list(iter_modules(config.source, skipped_modules))
    functions = usable_functions(modules, config, split, dropped)
    benchmark, held_out = _benchmark([one for one in functions if one.split == "held_out"], config, dropped)
    clean = _without_copies([one for one in functions if one.split != "held_out"], held_out, config, dropped)
    train = _first_of_each_summary([one for one in clean if one.split == "train"], dropped)
    validation = _unlike_training([one for one in clean if one.split == "validation"], train, config, dropped)
    sft = train[: config.max_sft_rows]
    preferences = _matches(train, 1, config, "preference pairs")[: config.max_preference_pairs]
    preferences_held_out = _matches(validation, 1, config, "held-out preference pairs")
    rows = {
        "sft": [_sft_row(function, config) for function in sft],
        "sft_held_out": [_sft_row(function, config) for function in validation],
        "preferences": [_preference_row(match, config) for match in preferences],
        "preferences_held_out": [_preference_row(match, config) for match in preferences_held_out],
        "benchmark": _benchmark_rows(benchmark, config),
        "held_out": [_held_out_row(function) for function in held_out],
    }
    for name, lines in rows.items():
        _write(out / f"{name}.jsonl", lines)
    metrics = {f"rows_{name}": float(len(lines)) for name, lines in rows.items()}
    for name, score in BASELINES.items():
        metrics[f"baseline_{name}"] = _guessed(score, benchmark)
        if others := [match for match in preferences if not _is_damaged(match, config)]:
            metrics[f"preference_{name}"] = _guessed(score, others)
    return Report(
        rows_in=sum(len(module.entries) for module in modules),
        rows_out=len(train) + len(validation) + len(held_out),
        unit="functions",
        dropped=dict(sorted(dropped.items())),
        metrics=metrics,
        details={"modules": len(modules), "skipped_modules": dict(sorted(skipped_modules.items()))},
    )


def _benchmark(
    functions: Sequence[Function], config: ExamplesConfig, dropped: Counter[str]
) -> tuple[list[Match], list[Function]]:
    """The benchmark's items, and all functions whose summaries it shows."""
    shared = Counter(text_hash(function.summary) for function in functions)
    candidates = [function for function in functions if shared[text_hash(function.summary)] == 1]
    items = _matches(candidates, WRONG_CHOICES, config, "benchmark items")
    if len(items) < config.min_benchmark_items:
        raise ValueError(
            f"examples: {len(items)} benchmark items from {len(functions)} functions on held-out pages, fewer than "
            f"min_benchmark_items={config.min_benchmark_items}; raise examples.source.max_modules or split.held_out"
        )
    items = items[: config.benchmark_items]
    shown = {function.qualname for item in items for function in (item.function, *item.wrong)}
    dropped["summary_shared_in_held_out"] = len(functions) - len(candidates)
    dropped["not_in_benchmark"] = len(candidates) - len(shown)
    return items, [function for function in candidates if function.qualname in shown]


def _without_copies(
    functions: Sequence[Function], held_out: Sequence[Function], config: ExamplesConfig, dropped: Counter[str]
) -> list[Function]:
    """Functions that do not give away a benchmark item, be it under another name."""
    exact = {text_hash(function.docstring) for function in held_out}
    summaries = Copies((function.summary for function in held_out), min_jaccard=config.max_jaccard)
    docstrings = Copies((function.docstring for function in held_out), min_jaccard=config.max_jaccard)
    clean = []
    with progress("copies of benchmark items", total=len(functions), unit="functions") as bar:
        for function in functions:
            if text_hash(function.docstring) in exact:
                dropped["re_export_of_benchmark"] += 1
            elif function.summary in summaries or function.docstring in docstrings:
                dropped["near_copy_of_benchmark"] += 1
            else:
                clean.append(function)
            bar.advance()
    return clean


def _first_of_each_summary(functions: Sequence[Function], dropped: Counter[str]) -> list[Function]:
    first: dict[str, Function] = {}
    for function in functions:
        first.setdefault(text_hash(function.summary), function)
    dropped["repeated_summary"] = len(functions) - len(first)
    return list(first.values())


def _unlike_training(
    functions: Sequence[Function], train: Sequence[Function], config: ExamplesConfig, dropped: Counter[str]
) -> list[Function]:
    trained = Copies((function.summary for function in train), min_jaccard=config.max_jaccard)
    unlike = [function for function in functions if function.summary not in trained]
    dropped["copy_of_training"] = len(functions) - len(unlike)
    return unlike


def _matches(functions: Sequence[Function], wrong: int, config: ExamplesConfig, label: str) -> list[Match]:
    """Functions for which so many matched wrong answers were found, in their seeded order."""
    matches: dict[str, Match] = {}
    with progress(label, total=len(functions), unit="functions") as bar:
        for pool in pools(functions, seed=config.seed):
            for index, function in enumerate(pool.functions):
                chosen = pool.wrong_answers(index, wrong)
                if chosen:
                    matches[function.qualname] = Match(function, tuple(pool.functions[other] for other in chosen))
                bar.advance()
    return [matches[function.qualname] for function in functions if function.qualname in matches]


def _guessed(score: Callable[[str, str], int], matches: Sequence[Match]) -> float:
    items = [(one.function.qualname, [one.function.summary, *(w.summary for w in one.wrong)], 0) for one in matches]
    return expected_accuracy(score, items)


def _sft_row(function: Function, config: ExamplesConfig) -> dict[str, Any]:
    return {
        "id": function.qualname,
        "messages": [*_asked(function), _said(function.summary)],
        "source": config.source.name,
        "license": config.source.license,
    }


def _preference_row(match: Match, config: ExamplesConfig) -> dict[str, Any]:
    wrong, fault = match.wrong[0].summary, "another_function"
    if _is_damaged(match, config):
        wrong, fault = damaged(match.function.summary, seed=config.seed)
    return {
        "id": match.function.qualname,
        "prompt": _asked(match.function),
        "chosen": [_said(match.function.summary)],
        "rejected": [_said(wrong)],
        "fault": fault,
    }


def _is_damaged(match: Match, config: ExamplesConfig) -> bool:
    share = int.from_bytes(seeded_digest(config.seed, f"damaged {match.function.qualname}")[:8]) / 2**64
    has_words = len(match.function.summary.split()) >= MIN_WORDS
    return has_words and share < config.damaged_pairs


def _benchmark_rows(matches: Sequence[Match], config: ExamplesConfig) -> list[dict[str, Any]]:
    """Items with the right choice equally often at each place, in a seeded order."""
    places = np.random.default_rng(config.seed).permutation(np.arange(len(matches)) % (1 + WRONG_CHOICES))
    rows = []
    for match, place in zip(matches, places.tolist(), strict=True):
        choices = [function.summary for function in match.wrong]
        choices.insert(place, match.function.summary)
        rows.append(
            {
                "id": match.function.qualname,
                "question": match.function.question,
                "choices": choices,
                "answer": place,
                "package": match.function.package,
            }
        )
    return rows


def _held_out_row(function: Function) -> dict[str, Any]:
    return {"id": function.qualname, "text": function.docstring, "summary": function.summary}


def _asked(function: Function) -> list[dict[str, str]]:
    return [{"role": "user", "content": function.question}]


def _said(summary: str) -> dict[str, str]:
    return {"role": "assistant", "content": summary}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
