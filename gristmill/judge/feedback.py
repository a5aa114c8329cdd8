"""AI feedback: a judge says which of two answers that the model sampled is better.

Bai et al. 2022 (arXiv:2212.08073) and Lee et al. 2023 (arXiv:2309.00267), with hard labels: a pair is made where the
verdict is the same in both orders, or the rubric's scores differ. Ties and all else are left out and counted.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gristmill.judge.asked import sample
from gristmill.judge.config import FeedbackConfig
from gristmill.judge.questions import Judge
from gristmill.judge.templates import Message
from gristmill.judge.verdicts import Contest, compare, order_agreement, rate
from gristmill.review.agreement import share
from gristmill.review.preferences import Row, message

Made = tuple[list[Row], list[Row], Counter[str], dict[str, Any]]
"""Pairs, everything that was judged, pairs left out by reason, and details."""


def feedback(policy: Judge, judge: Judge, prompts: Sequence[list[Message]], config: FeedbackConfig) -> Made:
    """Pairs in the format of `preferences.jsonl`. Raises JudgeFailed."""
    sampled = sample(policy, prompts, config, each=config.answers_per_prompt)
    contests, dropped = [], Counter[str]()
    for prompt, answers in zip(prompts, sampled, strict=True):
        for first, second in zip(answers[::2], answers[1::2], strict=True):
            if fault := first.fault or second.fault:
                dropped[fault] += 1
            elif not first.said or not second.said:
                dropped["empty_answer"] += 1
            elif first.said == second.said:
                dropped["equal_answers"] += 1
            else:
                contests.append(Contest(prompt, first.said, second.said))
    judged, details = (_compared if config.by == "comparison" else _rated)(judge, contests, config)
    pairs = []
    for number, (contest, row) in enumerate(zip(contests, judged, strict=True)):
        if row["outcome"] in ("first", "second"):
            better, worse = (contest.first, contest.second)[:: 1 if row["outcome"] == "first" else -1]
            pairs.append(
                {
                    "id": f"ai_feedback-{number}",
                    "prompt": list(contest.prompt),
                    "chosen": [message(better)],
                    "rejected": [message(worse)],
                }
            )
        else:
            dropped[row["outcome"]] += 1
    details["longer_chosen"] = share(
        sum(len(pair["chosen"][0]["content"]) > len(pair["rejected"][0]["content"]) for pair in pairs), len(pairs)
    )
    return pairs, judged, dropped, details


def _compared(judge: Judge, contests: Sequence[Contest], config: FeedbackConfig) -> tuple[list[Row], dict[str, Any]]:
    found = compare(judge, contests, criterion=config.criterion, max_tokens=config.judge.max_tokens)
    rows = [
        {**_row(contest), "choices": list(each.choices), "outcome": each.outcome}
        for contest, each in zip(contests, found, strict=True)
    ]
    flipped = [each.choices[0] for each in found if each.outcome == "order_flipped"]
    return rows, {
        "order_agreement": share(*order_agreement(found)),
        "first_place_of_flipped": share(flipped.count("A"), len(flipped)),
    }


def _rated(judge: Judge, contests: Sequence[Contest], config: FeedbackConfig) -> tuple[list[Row], dict[str, Any]]:
    answers = [(contest.prompt, text) for contest in contests for text in (contest.first, contest.second)]
    scores = rate(judge, answers, criterion=config.criterion, max_tokens=config.judge.max_tokens)
    rows = []
    for contest, first, second in zip(contests, scores[::2], scores[1::2], strict=True):
        if first is None or second is None:
            outcome = "unreadable"
        else:
            outcome = "tie" if first == second else "first" if first > second else "second"
        rows.append({**_row(contest), "scores": [first, second], "outcome": outcome})
    readable = [score for score in scores if score is not None]
    return rows, {"scores": {str(score): readable.count(score) for score in sorted(set(readable))}}


def _row(contest: Contest) -> Row:
    return {"prompt": list(contest.prompt), "answers": [contest.first, contest.second]}
