"""Benchmark items as texts, from JSON-lines files in the shapes that benchmarks come in.

An item is a set of texts: its question with each of its choices, each sentence of a minimal pair, each turn of a
conversation. Wrong choices count: a page that holds them holds the item. Which fields they are in is stated
(`ItemFile.fields`) or seen from usual names; a row where neither finds a text is refused.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gristmill.dedup.decontaminate_config import ItemFile
from gristmill.jsonl import read_jsonl

Row = dict[str, Any]

# names in lower case. What is asked, joined in this order:
_QUESTION = ("passage", "article", "story", "context", "ctx", "body", "instruction", "input", "premise", "problem",
             "goal", "question", "query", "prompt", "sentence", "text")  # fmt: skip
# what may follow it, each entry by itself:
_ANSWERS = ("choices", "endings", "options", "continuation", "completion", "answer", "answers", "solution",
            "canonical_solution", "target", "output", "hypothesis", "sol1", "sol2", "option1", "option2")  # fmt: skip
# texts of their own:
_ALONE = ("turns", "messages", "conversations", "sentence_good", "sentence_bad", "sentence1", "sentence2")
# beginnings that the answers go on from (Winograd schemas):
_BEGINNINGS = "context_options"
_IDS = ("id", "question_id", "task_id", "key", "idx")
_TEXT_WITHIN = ("text", "content", "value")


@dataclass(frozen=True)
class Item:
    """One benchmark item: what must not be trained on.

    item_id: its own id, or the row's number. row: number of its line, from 1. texts: in each of which all words belong
    together. summary: a phrase that gives the item away by itself, or empty.
    """

    benchmark: str
    item_id: str
    row: int
    texts: tuple[str, ...]
    summary: str = ""

    @property
    def key(self) -> str:
        """How verdicts name it: `piqa:17`."""
        return f"{self.benchmark}:{self.item_id}"


def read_items(file: ItemFile) -> Iterator[Item]:
    """All items of a file. Raises ValueError, with file and row, for a row that holds no text where it should."""
    rows = [(int(where.rpartition(":")[2]), where, row) for where, row in read_jsonl(file.path)]
    ids = item_ids(file, rows)
    for (number, where, row), item_id in zip(rows, ids, strict=True):
        texts = _stated_texts(file, row, where) if file.fields else _usual_texts(row, where)
        yield Item(file.benchmark, item_id, number, tuple(dict.fromkeys(texts)), _summary(file, row, where))


def item_ids(file: ItemFile, rows: list[tuple[int, str, Row]]) -> list[str]:
    """Of (number, file:row, row): each item's own id where the file has one for each, else the row's number.

    Raises ValueError where the field that `file.id` names is no id.
    """
    for name in [file.id] if file.id else _IDS:
        found = [_lower(row).get(name.lower()) for _, _, row in rows]
        if rows and all(isinstance(value, str | int) for value in found) and len(set(map(str, found))) == len(rows):
            return [str(value) for value in found]
        if file.id:
            raise ValueError(
                f"{file.path.name}: `{file.id}` is not an id of every row, or stands twice; name another field in "
                "`id`, or none to count rows"
            )
    return [str(number) for number, _, _ in rows]


def _stated_texts(file: ItemFile, row: Row, where: str) -> list[str]:
    """A text for each template, and where its fields hold lists for each combination of their entries."""
    texts = []
    for field in file.fields:
        template = field if "{" in field else f"{{{field}}}"
        parts = re.split(r"\{([^{}]+)\}", template)  # literal, name, literal, name, …, literal
        values = [_strings(_field(row, name, where)) for name in parts[1::2]]
        for combination in itertools.product(*values):
            filled = [parts[0]] + [value + literal for value, literal in zip(combination, parts[2::2], strict=True)]
            texts.append("".join(filled))
    return texts


def _field(row: Row, name: str, where: str) -> Any:
    if name not in row:
        raise ValueError(f"{where}: no field {name!r}, which `fields` names; the row has {_names(row)}")
    return row[name]


def _usual_texts(row: Row, where: str) -> list[str]:
    lower = _lower(row)
    question = "\n".join(text for name in _QUESTION for text in _strings(lower.get(name)))
    answers = [text for name in _ANSWERS if _is_text(lower.get(name)) for text in _strings(lower[name])]
    alone = [text for name in _ALONE for text in _strings(lower.get(name))]
    beginnings = _strings(lower.get(_BEGINNINGS))
    if not any((question, alone, beginnings)):
        raise ValueError(
            f"{where} is no benchmark item: none of its fields has a usual name for a text (such as question, context, "
            f"prompt, text), or it is empty. It has {_names(row)}; state `fields` for this file"
        )
    asked = [f"{question}\n{answer}" for answer in answers] or [question] if question else []
    return asked + alone + [f"{start} {answer}" for start in beginnings for answer in answers or [""]]


def _is_text(value: Any) -> bool:
    # an index of the right choice, or a number to reach, is no text
    return isinstance(value, str | list | dict)


def _strings(value: Any) -> list[str]:
    """The texts in a value: itself, a list's entries, the text of `{"text": …}` or of a turn `{"content": …}`."""
    if isinstance(value, list):
        return [text for entry in value for text in _strings(entry)]
    if isinstance(value, dict):
        named = next((name for name in _TEXT_WITHIN if name in value), None)
        return _strings(value[named] if named else list(value.values()))
    text = "" if value is None or isinstance(value, bool) else str(value).strip()
    return [text] if text else []


def _summary(file: ItemFile, row: Row, where: str) -> str:
    value = row.get(file.summary) or ""
    if not isinstance(value, str):
        raise ValueError(f"{where}: `{file.summary}` should be a text, found {str(value)[:60]}")
    return value


def _lower(row: Row) -> Row:
    return {name.lower(): value for name, value in row.items()}


def _names(row: Row) -> str:
    return ", ".join(map(repr, list(row)[:12])) or "no field at all"
