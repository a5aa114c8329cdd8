"""Rows as people publish them, told apart by their fields: each becomes messages, a pair, a labelled answer or text.

Instruction rows: Alpaca, OpenAI's `messages`, ShareGPT's `conversations`, prompt and completion. Preference pairs:
`chosen` and `rejected` behind a prompt in any of those forms, as two whole conversations with or without their prompt
beside them (UltraFeedback, arXiv:2310.01377), or as two transcripts of HH-RLHF (Bai et al. 2022, arXiv:2204.05862).
Labelled answers: KTO's (Ethayarajh et al. 2024, arXiv:2402.01306).

A row of none of these is a ValueError that says where it stands, what was found and what was expected. One that is
understood but teaches nothing is returned as the reason for leaving it out.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from gristmill.evaluate.chat_format import ROLES, Message

Row = dict[str, Any]
Reason = Literal["empty_answer", "equal_answers", "different_prompts", "out_of_turn", "empty_text"]

SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
}
_TURN = re.compile(r"\n\n(Human|Assistant):")
_COMPLETIONS = ("output", "completion", "response")


@dataclass(frozen=True)
class Conversation:
    """Messages that end with the assistant's. `row`: file and number; `format`: what it was read from."""

    row: str
    format: str
    messages: list[Message]
    task: str = ""
    """Of a mix."""

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def text(self) -> str:
        return _together(*self.messages)


@dataclass(frozen=True)
class Pair:
    """A prompt, and the answer preferred over another one."""

    row: str
    format: str
    prompt: list[Message]
    chosen: Message
    rejected: Message
    fault: str | None = None
    """What is wrong with the rejected answer, where the row's field `fault` says so."""

    @property
    def text(self) -> str:
        return _together(*self.prompt, self.chosen, self.rejected)


@dataclass(frozen=True)
class Labelled:
    """A prompt, and an answer that was found desirable or not."""

    row: str
    format: str
    prompt: list[Message]
    completion: Message
    desirable: bool

    @property
    def text(self) -> str:
        return _together(*self.prompt, self.completion)


@dataclass(frozen=True)
class LabelledText:
    """A text, and the class it belongs to."""

    row: str
    format: str
    text: str
    label: str

    @property
    def prompt(self) -> str:
        return self.text


def conversation(row: Row, where: str) -> Conversation | Reason:
    """An instruction row."""
    if _desirable(row) is not None or "kto_tag" in row:
        raise ValueError(
            f"{where}: found a KTO row (`label`), expected an instruction row: undesirable answers are not to be "
            "learned; use align.algorithm: kto for such rows"
        )
    name, messages = _conversation(row, where)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message is the {messages[-1]['role']}'s; there is no answer to learn from")
    if any(message["role"] == "assistant" and not message["content"].strip() for message in messages):
        return "empty_answer"  # all answers are learned, and this one would teach to end a turn at once
    return Conversation(where, name, messages)


def pair(row: Row, where: str) -> Pair | Reason:
    """A preference pair."""
    if "chosen" not in row or "rejected" not in row:
        raise ValueError(
            f"{where}: found the fields {_fields(row)}; expected a preference pair: `chosen` and `rejected`, with one "
            "of `prompt`, `instruction`, `conversations`, or as two whole conversations"
        )
    name, prompt = _prompt(row, where)
    chosen, rejected = (_answer(row[key], f"{where}: {key}") for key in ("chosen", "rejected"))
    if prompt is None:
        name = "hh-rlhf" if isinstance(row["chosen"], str) else "conversation pair"
        prompt = chosen[:-1]
        if isinstance(row["chosen"], str) and not (_take_turns(chosen) and _take_turns(rejected)):
            return "out_of_turn"
        if prompt != rejected[:-1]:
            return "different_prompts"
        if not prompt:
            raise ValueError(
                f"{where}: found `chosen` and `rejected` of one message each and the fields {_fields(row)}; expected "
                "a `prompt` beside them, or the whole conversation in each"
            )
    elif len(chosen) != 1 or len(rejected) != 1:
        if not all(one[: len(prompt)] == prompt for one in (chosen[:-1], rejected[:-1])):
            raise ValueError(
                f"{where}: found a prompt, and {max(len(chosen), len(rejected))} messages in `chosen` or `rejected`; "
                "expected one of the assistant in each, or the prompt at the start of both"
            )
        prompt = chosen[:-1]
        if prompt != rejected[:-1]:
            return "different_prompts"
    if not chosen[-1]["content"].strip() or not rejected[-1]["content"].strip():
        return "empty_answer"
    if chosen[-1] == rejected[-1]:
        return "equal_answers"
    fault = row.get("fault")
    return Pair(where, name, prompt, chosen[-1], rejected[-1], fault if isinstance(fault, str) else None)


def labelled(row: Row, where: str) -> list[Labelled] | Reason:
    """One labelled answer; a preference pair is two, the chosen one desirable."""
    if "chosen" in row and "rejected" in row:
        found = pair(row, where)
        if isinstance(found, str):
            return found
        return [
            Labelled(where, found.format, found.prompt, answer, desirable)
            for answer, desirable in ((found.chosen, True), (found.rejected, False))
        ]
    desirable = _desirable(row)
    if desirable is None:
        found = row.get("label", row.get("kto_tag"))
        raise ValueError(
            f"{where}: found label {found!r} among the fields {_fields(row)}; expected a KTO row, whose `label` is "
            "true for a desirable answer and false for another, or a preference pair"
        )
    name, messages = _conversation(row, where)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise ValueError(f"{where}: found {len(messages)} messages; expected a prompt and the assistant's answer to it")
    if not messages[-1]["content"].strip():
        return "empty_answer"
    return [Labelled(where, f"kto {name}", messages[:-1], messages[-1], desirable)]


def labelled_text(row: Row, where: str) -> LabelledText | Reason:
    """A row of a classifier."""
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str) or not isinstance(label, str | int):
        raise ValueError(
            f"{where}: found the fields {_fields(row)} with label {label!r}; expected `text`, and `label`, a name or a "
            "whole number"
        )
    return LabelledText(where, "text and label", text, str(label)) if text.strip() else "empty_text"


def _together(*messages: Message) -> str:
    return "\n".join(message["content"] for message in messages)


def _desirable(row: Row) -> bool | None:
    """KTO's label: true or false, also as 1 or 0 or spelled out; None where there is none, or one of another kind."""
    for key in ("label", "kto_tag"):
        said = row.get(key)
        label = {"true": True, "false": False}.get(said.lower()) if isinstance(said, str) else said
        if label in (True, False):  # 0 and 1 too
            return bool(label)
    return None


def _conversation(row: Row, where: str) -> tuple[str, list[Message]]:
    """The format's name, and the messages."""
    if "messages" in row:
        return "messages", _messages(row["messages"], f"{where}: messages")
    if "conversations" in row:
        return "sharegpt", _sharegpt(row, where)
    answer = next((key for key in _COMPLETIONS if key in row), None)
    name, prompt = _prompt(row, where)
    if answer is None or prompt is None:
        raise ValueError(
            f"{where}: found the fields {_fields(row)}; expected `messages`, `conversations`, Alpaca's `instruction` "
            "and `output`, or `prompt` and `completion`"
        )
    completion = _answer(row[answer], f"{where}: {answer}")
    return name, [*prompt, *completion]


def _prompt(row: Row, where: str) -> tuple[str, list[Message] | None]:
    """The format's name, and what stands before the answer; None where the row has no prompt of its own."""
    if "prompt" in row:
        found = row["prompt"]
        if isinstance(found, str) and found.startswith("\n\nHuman:"):
            return "hh-rlhf", _transcript(found.rstrip().removesuffix("Assistant:"))
        is_text = isinstance(found, str)
        return "prompt", [_user(found)] if is_text else _messages(found, f"{where}: prompt")
    if "instruction" in row:
        parts = ["instruction", *(key for key in ("input", "context") if row.get(key))]  # `context`: Dolly's
        return "alpaca", [_user("\n\n".join(_text(row, key, where) for key in parts))]
    if "conversations" in row:
        return "sharegpt", _sharegpt(row, where)
    if "messages" in row:
        return "messages", _messages(row["messages"], f"{where}: messages")
    return "", None


def _sharegpt(row: Row, where: str) -> list[Message]:
    """The turns, behind the system message that stands beside them; one among the turns counts more."""
    messages = _messages(row["conversations"], f"{where}: conversations")
    if not row.get("system") or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": _text(row, "system", where)}, *messages]


def _answer(found: Any, where: str) -> list[Message]:
    """An answer as text, one message or several, or a transcript; it ends with the assistant's message."""
    if isinstance(found, str):
        if not found.startswith("\n\nHuman:"):
            return [{"role": "assistant", "content": found}]
        messages = _transcript(found)
    else:
        messages = _messages([found] if isinstance(found, dict) else found, where)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message is the {messages[-1]['role']}'s; expected the assistant's")
    return messages


def _transcript(text: str) -> list[Message]:
    """HH-RLHF's one string: `\\n\\nHuman: …\\n\\nAssistant: …`."""
    _, *parts = _TURN.split(text)
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _take_turns(messages: list[Message]) -> bool:
    """In a few transcripts one speaks twice running: words of the other are somewhere in the middle of a turn."""
    return all(one["role"] != other["role"] for one, other in pairwise(messages))


def _messages(found: Any, where: str) -> list[Message]:
    if not isinstance(found, list) or not found:
        raise ValueError(
            f'{where}: found {str(found)[:60]!r}; expected a list of {{"role", "content"}} or {{"from", "value"}}'
        )
    return [_message(one, where) for one in found]


def _message(found: Any, where: str) -> Message:
    said = found if isinstance(found, dict) else {}
    role = said.get("role") if "role" in said else SHAREGPT_ROLES.get(str(said.get("from")))
    content = said.get("content") if "role" in said else said.get("value")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if role not in ROLES or not isinstance(content, str):
        raise ValueError(
            f"{where}: found {str(found)[:80]!r}; expected a role out of {', '.join(ROLES)} and text, or ShareGPT's "
            f"`from` out of {', '.join(SHAREGPT_ROLES)} and `value`"
        )
    return {"role": role, "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _text(row: Row, key: str, where: str) -> str:
    if not isinstance(row[key], str):
        raise ValueError(f"{where}: found a {type(row[key]).__name__} in {key}, expected text")
    return row[key]


def _fields(row: Row) -> str:
    return ", ".join(sorted(row)[:12]) or "none"
