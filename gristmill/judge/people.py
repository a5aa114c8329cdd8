"""Answers that people compared, and answers known to be good: what a judge is measured by."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.jsonl import read_jsonl
from gristmill.judge.templates import Message
from gristmill.review.candidates import MESSAGES, read_candidates

_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


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
    """JSON lines of `chosen` and `rejected`: HH-RLHF's transcripts, or text or messages beside a `prompt`.

    `chosen_model` and `rejected_model` name the authors. What cannot be compared is left out and counted. Raises
    ValueError naming file and line.
    """
    found: list[PeoplePair] = []
    dropped = Counter[str]()
    for where, row in read_jsonl(path):
        pair = _pair(row, where)
        if isinstance(pair, str):
            dropped[pair] += 1
        elif not pair.chosen or not pair.rejected:
            dropped["empty_answer"] += 1
        elif pair.chosen == pair.rejected:
            dropped["equal_answers"] += 1
        else:
            found.append(pair)
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


def _pair(row: dict[str, Any], where: str) -> PeoplePair | str:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    models = (row.get("chosen_model"), row.get("rejected_model"))
    named = (str(models[0]), str(models[1])) if all(models) else None
    if "prompt" in row:
        asked = row["prompt"]
        prompt = [{"role": "user", "content": asked}] if isinstance(asked, str) else _messages(asked, where)
        return PeoplePair(prompt, _answer(chosen, where), _answer(rejected, where), named)
    if isinstance(chosen, str) and isinstance(rejected, str) and _ASSISTANT in chosen and _ASSISTANT in rejected:
        before, _, better = chosen.rpartition(_ASSISTANT)
        other_before, _, worse = rejected.rpartition(_ASSISTANT)
        if before != other_before:
            return "two_conversations"
        return PeoplePair(_turns(before, where), better.strip(), worse.strip(), named)
    raise ValueError(
        f"{where}: expected `chosen` and `rejected` beside a `prompt`, or two transcripts that end with an Assistant's "
        f"turn; found the keys {', '.join(sorted(row)[:12]) or 'none'}"
    )


def _turns(transcript: str, where: str) -> list[Message]:
    turns = []
    for part in transcript.split(_HUMAN)[1:]:
        asked, *said = part.split(_ASSISTANT)
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": text.strip()} for text in said]
    if not turns or turns[-1]["role"] != "user":
        raise ValueError(f"{where}: expected a transcript of Human and Assistant, with Human before the last answer")
    return turns


def _answer(found: Any, where: str) -> str:
    return found.strip() if isinstance(found, str) else _messages(found, where)[-1]["content"].strip()


def _messages(found: Any, where: str) -> list[Message]:
    try:
        messages = [message.model_dump() for message in MESSAGES.validate_python(found)]
    except ValueError as error:
        raise ValueError(
            f"{where}: expected text or messages of role and content, found {str(found)[:60]!r}"
        ) from error
    if not messages:
        raise ValueError(f"{where}: an empty list of messages")
    return messages
