"""A model's answers against its parent's, by a judge: one more number beside those that need no judge."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gristmill.evaluate.statistics import mean_interval
from gristmill.jsonl import read_jsonl
from gristmill.judge.config import JudgedSamplesConfig
from gristmill.judge.preferences import open_judge
from gristmill.judge.templates import COMPARE
from gristmill.judge.verdicts import Contest, compare, order_agreement
from gristmill.schema import Resources

METRIC = "judge_wins_minus_losses"
_WORTH = {"first": 1.0, "second": -1.0, "parent_empty": 1.0, "empty": -1.0}


def judge_samples(
    mine: Path, parents: Path, out: Path, config: JudgedSamplesConfig, resources: Resources, *, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details of comparing two files of `{"prompt", "answer"}` lines on the prompts that both have.

    A win counts 1, a loss -1; equal answers, a tie, a verdict that did not hold in both orders and an unreadable one
    count 0. Nobody is asked where one says nothing: an empty answer loses to any other. Writes `judge/judged.jsonl` and
    the replies into `out`. No metric for fewer than two prompts. Raises JudgeFailed.
    """
    ours, theirs = _answers(mine), _answers(parents)
    prompts = [prompt for prompt in ours if prompt in theirs]
    if len(prompts) < 2:
        return {}, {"judge": f"not asked: {len(prompts)} prompts were put to both the model and its parent"}
    judge = open_judge(config.by, out / "judge" / "replies.jsonl", resources)
    asked = [Contest([{"role": "user", "content": prompt}], ours[prompt], theirs[prompt]) for prompt in prompts]
    undecided = [contest for contest in asked if not _unasked(contest)]
    found = compare(judge, undecided, criterion=config.criterion, max_tokens=config.by.max_tokens)
    said = iter(found)
    outcomes = [_unasked(contest) or next(said).outcome for contest in asked]
    lines = [
        {"prompt": prompt, "answer": contest.first, "parent": contest.second, "outcome": outcome}
        for prompt, contest, outcome in zip(prompts, asked, outcomes, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (out / "judge" / "judged.jsonl").write_text(text, encoding="utf-8", newline="\n")
    worth = mean_interval([_WORTH.get(outcome, 0.0) for outcome in outcomes], seed=seed)
    agreed, readable = order_agreement(found)
    return {**worth.metrics(METRIC), "judge_n": len(prompts)}, {
        "judge": judge.respondent.name,
        "judge_template": f"{COMPARE.name} {COMPARE.identity}",
        "judge_outcomes": dict(Counter(outcomes)),
        "judge_order_agreement": f"{agreed} of {readable}",
    }


def _unasked(contest: Contest) -> str:
    """The outcome that needs no judge; empty where one has to be asked."""
    if contest.first == contest.second:
        return "equal"
    return "empty" if not contest.first else "parent_empty" if not contest.second else ""


def _answers(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {row["prompt"]: row["answer"].strip() for _, row in read_jsonl(path)}
