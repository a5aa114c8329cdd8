"""Answers that people compared, and answers known to be good: what a judge is measured by."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gristmill.align import formats
from gristmill.jsonl import read_jsonl
from gristmill.judge.templates import Message
from gristmill.review.candidates import read_candidates


@dataclass(frozen=True)
class PeoplePair:
    """Two answers, the one that people preferred, and who wrote them where that is known."""

    prompt: list[Message]
    chosen: str
    rejected: str
    models: tuple[str, str] | None = None
    """Authors of `chosen` and `rejected`."""


@dataclass(frozen=True)
class Reference:
    """A prompt with an answer known to be good."""

    prompt: list[Message]
    answer: str


def read_people_pairs(path: Path) -> tuple[list[PeoplePair], Counter[str]]:
    """JSON lines of preference pairs in any format of docs/alignment.md.

    `chosen_model` and `rejected_model` name the authors. What cannot be compared is left out and counted. Raises
    ValueError naming file and line.
    """
    found: list[PeoplePair] = []
    dropped = Counter[str]()
    for where, row in read_jsonl(path):
        pair = formats.pair(row, where)
        if isinstance(pair, str):
            dropped[pair] += 1
            continue
        models = (row.get("chosen_model"), row.get("rejected_model"))
        named = (str(models[0]), str(models[1])) if all(models) else None
        chosen, rejected = (answer["content"].strip() for answer in (pair.chosen, pair.rejected))
        found.append(PeoplePair(pair.prompt, chosen, rejected, named))
    return found, dropped


def read_references(path: Path) -> list[Reference]:
    """JSON lines of prompts with `reference`, chat messages that end with the assistant's, or Alpaca's fields.

    Lines without a reference are left out. Raises ValueError naming file and line.
    """
    return [
        Reference([turn.model_dump() for turn in each.prompt], each.reference.strip())
        for each in read_candidates(path)
        if each.reference and each.reference.strip()
    ]
