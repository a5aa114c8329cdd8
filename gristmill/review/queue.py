"""What is to be judged: `queue.jsonl` of a review folder, a prompt with two answers a line.

An item's id is the digest of the seed and its content, and items stand in the order of their ids: the order is drawn
by the seed, and the same queue comes out of the same answers again. Which answer stands on the left is drawn from the
id and the reviewer's name, so that two reviewers do not share the same bias.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from gristmill.jsonl import read_jsonl
from gristmill.review.planted import Error, spoiled
from gristmill.schema import Schema

MIN_PLANTED, MAX_PLANTED = 0.05, 0.10


class ChatMessage(Schema):
    """One turn of the conversation before the answers."""

    role: Literal["system", "user", "assistant"]
    content: str


class ShownAnswer(Schema):
    """An answer, and where it comes from, which the page never says."""

    model: str
    text: str


class Item(Schema):
    """One question to a reviewer: which of two answers is better."""

    id: str
    prompt: Annotated[list[ChatMessage], Field(min_length=1)]
    answers: Annotated[list[ShownAnswer], Field(min_length=2, max_length=2)]
    planted: Error | None = None
    """What was done to the second answer, a copy of the first, to see whether the reviewer notices."""

    def left_for(self, reviewer: str) -> int:
        """Which answer, 0 or 1, this reviewer sees on the left."""
        return hashlib.sha256(f"{self.id} {reviewer}".encode()).digest()[0] % 2


@dataclass(frozen=True)
class Candidate:
    """A prompt with the answers to compare. reference: an answer known to be good, from which errors are planted."""

    prompt: list[ChatMessage]
    answers: list[ShownAnswer]
    reference: str | None = None


def make_queue(candidates: Sequence[Candidate], *, seed: int, planted: float) -> tuple[list[Item], Counter[str]]:
    """Items in the order to judge them, and how many candidates were left out, by reason.

    planted: share of the prompts whose answers give way to a reference and a spoiled copy of it; 0, or 0.05 to 0.1.
    Raises ValueError for another share, and when too few candidates have a reference.
    """
    if planted and not MIN_PLANTED <= planted <= MAX_PLANTED:
        raise ValueError(f"planted={planted}: fewer than 5 % measure nothing, more than 10 % waste time; 0 for none")
    drawn = sorted(candidates, key=lambda each: _digest(seed, each.prompt, []))
    with_reference = [each for each in drawn if each.reference and each.reference.strip()]
    wanted = max(1, round(planted * len(drawn))) if planted and drawn else 0
    if len(with_reference) < wanted:
        raise ValueError(
            f"planted={planted} of {len(drawn)} prompts needs {wanted} answers known to be good, and "
            f"{len(with_reference)} prompts have one; give them `reference` (or messages that end with the "
            "assistant's), or plant nothing with 0"
        )
    spoiling = [id(each) for each in with_reference[:wanted]]
    items, dropped = {}, Counter[str]()
    for candidate in drawn:
        if id(candidate) in spoiling:
            item = _planted(candidate, with_reference, seed)
        elif candidate.answers[0].text.strip() == candidate.answers[1].text.strip():
            dropped["equal_answers"] += 1
            continue
        else:
            item = Item(
                id=_digest(seed, candidate.prompt, candidate.answers),
                prompt=candidate.prompt,
                answers=candidate.answers,
            )
        dropped["duplicate"] += item.id in items
        items[item.id] = item
    return [items[key] for key in sorted(items)], +dropped


def _planted(candidate: Candidate, others: Sequence[Candidate], seed: int) -> Item:
    assert candidate.reference
    good = ShownAnswer(model="reference", text=candidate.reference)
    item_id = _digest(seed, candidate.prompt, [good])
    foreign = [each.reference for each in others if each.reference and each.prompt != candidate.prompt]
    error, text = spoiled(good.text, foreign=foreign, draw=int(item_id, 16))
    return Item(
        id=item_id,
        prompt=candidate.prompt,
        answers=[good, ShownAnswer(model="planted", text=text)],
        planted=error,
    )


def _digest(seed: int, prompt: list[ChatMessage], answers: list[ShownAnswer]) -> str:
    content = [seed, [each.model_dump() for each in prompt], [each.model_dump() for each in answers]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def write_queue(path: Path, items: Sequence[Item]) -> None:
    """Write under a temporary name, then rename: a reader never sees half a queue."""
    temporary = path.with_name(path.name + ".tmp")
    lines = (json.dumps(item.model_dump(mode="json"), ensure_ascii=False) + "\n" for item in items)
    temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
    temporary.rename(path)


def read_queue(path: Path) -> dict[str, Item]:
    """Items by id, in the order to judge them. Raises ValueError naming file and line."""
    items: dict[str, Item] = {}
    for where, row in read_jsonl(path):
        try:
            item = Item.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(
                f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}; make the queue with `gristmill review "
                "make`"
            ) from error
        if item.id in items:
            raise ValueError(f"{where}: a second item {item.id}; an id stands for one item")
        items[item.id] = item
    return items
