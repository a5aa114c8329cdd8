"""Judgements become preference pairs and SFT rows, in an examples artifact.

An item gives one pair: the answer that more reviewers preferred is `chosen`. A written answer is preferred to both
that it replaces, and is an SFT row. Ties, answers that are both bad, items on which reviewers are divided, and those
with a planted error teach nothing here; they are counted.
"""

import hashlib
import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gristmill.align.data import opening
from gristmill.jsonl import read_jsonl
from gristmill.report import Report
from gristmill.review.config import PreferencesConfig
from gristmill.review.folder import Review
from gristmill.review.log import Judgement
from gristmill.review.queue import Item

Row = dict[str, Any]


@dataclass
class JudgedRows:
    """Rows in the format that `align` and `sft` read, and how many items gave no pair, by reason."""

    pairs: list[Row] = field(default_factory=list)
    written: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def run_preferences(examples: Path, out: Path, config: PreferencesConfig) -> Report:
    """Write the examples with people's pairs in place of the made ones; written answers join the SFT rows."""
    judged = [judged_rows(review) for review in config.read]
    pairs = [row for rows in judged for row in rows.pairs]
    written = [row for rows in judged for row in rows.written]
    held_out = held_out_prompts([*pairs, *written], config.held_out)
    for path in sorted(examples.glob("*.jsonl")):
        shutil.copyfile(path, out / path.name)
    write_rows(out, "preferences", pairs, held_out, keep=config.made_pairs)
    write_rows(out, "sft", written, held_out, keep=True)
    dropped = sum((rows.dropped for rows in judged), Counter[str]())
    return Report(
        rows_in=sum(len(review.items) for review in config.read),
        rows_out=len(pairs),
        unit="pairs",
        dropped=dict(sorted(dropped.items())),
        metrics={"written_answers": len(written)},
        details={
            "judgements": sum(len(review.judged.standing) for review in config.read),
            "torn_lines": sum(len(review.judged.torn) for review in config.read),
            "held_out_prompts": len(held_out),
        },
    )


def judged_rows(review: Review) -> JudgedRows:
    """Pairs and SFT rows of one review, in the queue's order."""
    said: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in review.judged.standing:
        said[judgement.item].append(judgement)
    rows = JudgedRows()
    for item in review.items.values():
        if item.planted:
            rows.dropped["planted"] += 1
            continue
        texts = list(dict.fromkeys(each.written.strip() for each in said[item.id] if each.written))
        for number, text in enumerate(texts):
            better = [message(text)]
            rows.written.append({"id": f"{item.id}-written-{number}", "messages": [*_prompt(item), *better]})
            for place, answer in enumerate(item.answers):
                if answer.text.strip() != text:
                    rows.pairs.append(_pair(item, f"{item.id}-written-{number}-{place}", text, answer.text))
        votes = Counter(each.preferred for each in said[item.id] if each.preferred is not None)
        if votes[0] != votes[1]:
            chosen = 0 if votes[0] > votes[1] else 1
            rows.pairs.append(_pair(item, item.id, item.answers[chosen].text, item.answers[1 - chosen].text))
        elif not texts:
            rows.dropped[_why_no_pair(said[item.id])] += 1
    return rows


def _why_no_pair(said: list[Judgement]) -> str:
    verdicts = {each.verdict for each in said}
    if verdicts & {"left", "right"}:
        return "divided"
    return next((reason for reason in ("tie", "both_bad", "skip") if reason in verdicts), "not_judged")


def _pair(item: Item, row_id: str, chosen: str, rejected: str) -> Row:
    return {"id": row_id, "prompt": _prompt(item), "chosen": [message(chosen)], "rejected": [message(rejected)]}


def _prompt(item: Item) -> list[dict[str, str]]:
    return [message.model_dump() for message in item.prompt]


def message(text: str) -> dict[str, str]:
    """The assistant's."""
    return {"role": "assistant", "content": text}


def held_out_prompts(rows: Iterable[Row], share: float) -> set[str]:
    """Digests of the prompts to hold out: those of the smallest digests, which mostly stay so as prompts are added."""
    prompts = sorted({prompt_digest(row) for row in rows})
    return set(prompts[: max(2, math.ceil(share * len(prompts)))])


def prompt_digest(row: Row) -> str:
    """Of how a conversation begins, which decides its side: that of a pair's prompt, or of an SFT row's."""
    prompt = row["prompt"] if "prompt" in row else row["messages"][:-1]
    return hashlib.sha256(json.dumps(opening(prompt)).encode()).hexdigest()


def write_rows(out: Path, name: str, rows: list[Row], held_out: set[str], *, keep: bool) -> None:
    """Add rows to `name`.jsonl and `name`_held_out.jsonl (keep), or put them in place of those there.

    held_out: digests of prompts of which no row trains; nor does one of a prompt that the rows there hold out.
    """
    paths = (out / f"{name}.jsonl", out / f"{name}_held_out.jsonl")
    train, aside = ([row for _, row in read_jsonl(path)] if keep else [] for path in paths)
    held_out = held_out | {prompt_digest(row) for row in aside}
    for path, part in zip(paths, (False, True), strict=True):
        chosen = (row for row in [*train, *aside, *rows] if (prompt_digest(row) in held_out) == part)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
