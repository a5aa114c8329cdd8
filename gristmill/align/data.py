"""Conversations and preference pairs from JSON lines, checked row by row; which rows train and which are held out.

A line that cannot be understood is an error that names file and line. A row that is understood but has nothing to
learn from (an empty answer, two equal ones) is left out and counted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from gristmill.align.config import ExampleRows, JsonlRows
from gristmill.evaluate.chat_format import ROLES, Message
from gristmill.jsonl import read_jsonl

R = TypeVar("R", "Conversation", "Pair")


@dataclass(frozen=True)
class Conversation:
    """Messages that end with the assistant's."""

    row_id: str
    messages: list[Message]


@dataclass(frozen=True)
class Pair:
    """A prompt, and the answer preferred over another one."""

    row_id: str
    prompt: list[Message]
    chosen: Message
    rejected: Message


@dataclass
class Split(Generic[R]):
    """Rows to train on, rows to measure with, and how many were left out, by reason."""

    train: list[R] = field(default_factory=list)
    held_out: list[R] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def read_conversations(source: ExampleRows | JsonlRows, examples: Path | None) -> Split[Conversation]:
    """Rows for SFT. Raises ValueError naming file and line, or when either part is empty."""
    return _read(source, examples, "sft", _conversation)


def read_pairs(source: ExampleRows | JsonlRows, examples: Path | None) -> Split[Pair]:
    """Preference pairs. Raises ValueError naming file and line, or when either part is empty."""
    return _read(source, examples, "preferences", _pair)


def _read(
    source: ExampleRows | JsonlRows,
    examples: Path | None,
    name: str,
    parse: Callable[[dict[str, Any], str], R | str],
) -> Split[R]:
    split: Split[R] = Split()
    if isinstance(source, JsonlRows):
        named, files = str(source.path), [source.path]
    else:
        if examples is None:
            raise ValueError("data.kind is `examples` but no examples folder was given; give one, or use kind: jsonl")
        named, files = f"{name}.jsonl of examples", [examples / f"{name}.jsonl", examples / f"{name}_held_out.jsonl"]
    for path in files:
        for where, row in read_jsonl(path):
            parsed = parse(row, where)
            if isinstance(parsed, str):
                split.dropped[parsed] += 1
            elif _is_held_out(row, source) or path.stem.endswith("_held_out"):
                split.held_out.append(parsed)
            else:
                split.train.append(parsed)
    if len(split.train) == 0 or len(split.held_out) < 2:
        raise ValueError(
            f"{named}: {len(split.train)} rows to train on and {len(split.held_out)} held out, after leaving out "
            f"{split.dropped.total()}; at least 1 and 2 are needed, so give more rows"
        )
    return split


def _is_held_out(row: dict[str, Any], source: ExampleRows | JsonlRows) -> bool:
    if isinstance(source, ExampleRows):
        return False
    content = json.dumps({key: value for key, value in row.items() if key != "id"}, sort_keys=True)
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8]) / 2**64 < source.held_out


def _conversation(row: dict[str, Any], where: str) -> Conversation | str:
    if "messages" in row:
        messages = _messages(row["messages"], f"{where}: messages")
    elif "instruction" in row and "output" in row:
        messages = [*_alpaca_prompt(row, where), {"role": "assistant", "content": _text(row, "output", where)}]
    else:
        raise ValueError(
            f"{where}: expected `messages`, or Alpaca's `instruction` and `output`; found the keys {_keys(row)}"
        )
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message is the {messages[-1]['role']}'s; there is no answer to learn from")
    if not messages[-1]["content"].strip():
        return "empty_answer"
    return Conversation(str(row.get("id", where)), messages)


def _pair(row: dict[str, Any], where: str) -> Pair | str:
    if "chosen" not in row or "rejected" not in row or not ("prompt" in row or "instruction" in row):
        raise ValueError(
            f"{where}: expected `chosen`, `rejected` and one of `prompt`, `instruction`; found the keys {_keys(row)}"
        )
    if "prompt" not in row:
        prompt = _alpaca_prompt(row, where)
    elif isinstance(row["prompt"], str):
        prompt = [{"role": "user", "content": row["prompt"]}]
    else:
        prompt = _messages(row["prompt"], f"{where}: prompt")
    chosen, rejected = _answer(row, "chosen", where), _answer(row, "rejected", where)
    if not chosen["content"].strip() or not rejected["content"].strip():
        return "empty_answer"
    if chosen == rejected:
        return "equal_answers"
    return Pair(str(row.get("id", where)), prompt, chosen, rejected)


def _answer(row: dict[str, Any], key: str, where: str) -> Message:
    if isinstance(row[key], str):
        return {"role": "assistant", "content": row[key]}
    messages = _messages(row[key], f"{where}: {key}")
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise ValueError(
            f"{where}: {key} must be text or one message of the assistant; earlier turns belong to `prompt`"
        )
    return messages[0]


def _messages(found: Any, where: str) -> list[Message]:
    if not isinstance(found, list) or not found:
        raise ValueError(f'{where}: expected a list of {{"role", "content"}}, found {str(found)[:60]!r}')
    for message in found:
        if (
            not isinstance(message, dict)
            or message.get("role") not in ROLES
            or not isinstance(message.get("content"), str)
        ):
            raise ValueError(
                f"{where}: expected a role out of {', '.join(ROLES)} and text, found {str(message)[:80]!r}"
            )
    return [{"role": message["role"], "content": message["content"]} for message in found]


def _alpaca_prompt(row: dict[str, Any], where: str) -> list[Message]:
    instruction, more = _text(row, "instruction", where), _text(row, "input", where) if row.get("input") else ""
    return [{"role": "user", "content": f"{instruction}\n\n{more}" if more else instruction}]


def _text(row: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(row[key], str):
        raise ValueError(f"{where}: {key} must be text, found a {type(row[key]).__name__}")
    return row[key]


def _keys(row: dict[str, Any]) -> str:
    return ", ".join(sorted(row)[:12]) or "none"
