"""Constitutional AI: the answer is criticized by a principle and revised, and the revision is preferred to it.

The first half of Bai et al. 2022 (arXiv:2212.08073), whose revisions train a model by SFT; here first answer and
revision are a pair too, so that DPO and a reward model can learn from them. A revision is not known to be better: the
report says what the toxicity classifier finds before and after, and `judged.jsonl` has the texts to read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gristmill.align.online.rewards import repetition
from gristmill.judge.asked import sample
from gristmill.judge.config import ConstitutionConfig
from gristmill.judge.feedback import Made
from gristmill.judge.questions import Judge, Question, Reply
from gristmill.judge.templates import CRITIQUE, REVISE, Message, Template, shows_marks, transcript
from gristmill.review.preferences import message
from gristmill.schema import Schema
from gristmill.yaml import load_yaml


class Principle(Schema):
    """What an answer is criticized for, and how it is put right."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    critique: str = Field(min_length=1)
    revision: str = Field(min_length=1)


class Constitution(Schema):
    """A file of principles."""

    principles: Annotated[list[Principle], Field(min_length=1)]


def constitutional(policy: Judge, reviser: Judge, prompts: Sequence[list[Message]], config: ConstitutionConfig) -> Made:
    """Pairs of revision and first answer, in the format of `preferences.jsonl`. Raises JudgeFailed."""
    principles = load_yaml(config.constitution, [], Constitution).principles
    drawn = np.random.default_rng(config.seed).integers(len(principles), size=(len(prompts), config.revisions))
    first = [replies[0] for replies in sample(policy, prompts, config, each=1)]
    rows: list[dict[str, Any]] = [
        {
            "prompt": prompt,
            "first": reply.said,
            "revised": reply.said,
            "rounds": [],
            "outcome": reply.fault or ("" if reply.said else "empty_answer"),
        }
        for prompt, reply in zip(prompts, first, strict=True)
    ]
    for turn in range(config.revisions):
        going = [(row, principles[draws[turn]]) for row, draws in zip(rows, drawn, strict=True) if not row["outcome"]]
        asked = [{"request": principle.critique} for _, principle in going]
        critiques = _asked(reviser, CRITIQUE, [row for row, _ in going], asked, config)
        for (row, principle), critique in zip(going, critiques, strict=True):
            row["rounds"].append({"principle": principle.name, "critique": critique.said, "revision": None})
            row["outcome"] = "" if critique.said else critique.why or "no_critique"
        going = [(row, principle) for row, principle in going if not row["outcome"]]
        asked = [{"request": principle.revision} for _, principle in going]
        revisions = _asked(reviser, REVISE, [row for row, _ in going], asked, config)
        for (row, _), revision in zip(going, revisions, strict=True):
            row["rounds"][-1]["revision"] = revision.said
            row["outcome"] = _fault(revision, config.max_repetition)
            row["revised"] = revision.said
    for row in rows:
        if row["outcome"]:
            row["revised"] = row["first"]  # also where an earlier round went well: what is left out changes nothing
        else:
            row["outcome"] = "equal_answers" if row["revised"] == row["first"] else "revised"
    pairs = [
        {
            "id": f"constitution-{number}",
            "prompt": row["prompt"],
            "chosen": [message(row["revised"])],
            "rejected": [message(row["first"])],
        }
        for number, row in enumerate(rows)
        if row["outcome"] == "revised"
    ]
    dropped = Counter(row["outcome"] for row in rows if row["outcome"] != "revised")
    used = Counter(turn["principle"] for row in rows for turn in row["rounds"])
    return pairs, rows, dropped, {"principles": dict(sorted(used.items()))}


def toxicity_change(rows: Sequence[dict[str, Any]], *, seed: int, threshold: float = 0.5) -> dict[str, float]:
    """Mean score of first answers and of what stands there afterwards, the paired difference with its interval, and
    the shares above the threshold. Answers that were not revised count as unchanged; empty ones do not count.

    The classifier knows words more than meanings (gristmill/filters/models/toxicity.en.card.md). Empty below 2 rows.
    """
    from gristmill.evaluate.statistics import paired_difference

    answered = [row for row in rows if row["first"]]
    if len(answered) < 2:
        return {}
    score = _toxicity()
    before, after = (np.array([score(row[part]) for row in answered]) for part in ("first", "revised"))
    return {
        "toxicity_before": float(before.mean()),
        "toxicity_after": float(after.mean()),
        **paired_difference(after, before, seed=seed).metrics("toxicity_change"),
        "toxic_share_before": float((before > threshold).mean()),
        "toxic_share_after": float((after > threshold).mean()),
        "toxicity_n": len(answered),
    }


def _fault(revision: Reply, max_repetition: float) -> str:
    """Why a reply is no revision; empty where it may be one."""
    if not revision.said:
        return revision.why or "no_revision"
    if shows_marks(revision.said):
        return "shows_marks"
    if repetition(revision.said) > max_repetition:
        return "repetitive"
    return revision.fault


def _asked(
    reviser: Judge,
    template: Template,
    rows: Sequence[dict[str, Any]],
    words: Sequence[dict[str, str]],
    config: ConstitutionConfig,
) -> list[Reply]:
    questions = []
    for row, said in zip(rows, words, strict=True):
        material = {"conversation": transcript(row["prompt"]), "answer": row["revised"]}
        if template is REVISE:
            material["critique"] = row["rounds"][-1]["critique"]
        questions.append(Question(tuple(template.filled(material=material, **said)), config.reviser.max_tokens))
    return reviser.ask(questions, label=f"constitution: {template.name}")


def _toxicity() -> Callable[[str], float]:
    from gristmill.filters.classifier import TASKS, Classifier
    from gristmill.filters.classifier_config import MODELS

    path: Path = MODELS / "toxicity.en.ftz"
    return Classifier.load(path, TASKS["toxicity"]).score
