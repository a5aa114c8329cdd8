"""The log of judgements: `judgements.jsonl` of a review folder, one line each, on disk before the page goes on.

Lines are only ever appended; to undo is a line too. Several reviewers may write to one log at the same time. A line
that a crash cut off is ended by the next one, left out by readers, and reported.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, ValidationError, model_validator

from gristmill.folder_swap import sync
from gristmill.schema import Schema

Verdict = Literal["left", "right", "tie", "both_bad", "skip", "written"]


MAX_REVIEWER = 100


class Judgement(Schema):
    """What one reviewer said about one item, or took back."""

    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    reviewer: Annotated[str, Field(min_length=1, max_length=MAX_REVIEWER)]
    item: str
    verdict: Verdict | Literal["undo"]
    left: Annotated[int, Field(ge=0, le=1)]
    """Which of the item's answers stood on the left."""
    written: str | None = None
    """The better answer, where the reviewer wrote one."""
    remark: str | None = None
    seconds: NonNegativeFloat | None = None
    """How long the item was on the screen."""

    @model_validator(mode="after")
    def _a_written_answer_has_text(self) -> Self:
        if (self.verdict == "written") != bool(self.written and self.written.strip()):
            raise ValueError(f"verdict {self.verdict!r}: the verdict `written`, and no other, comes with an answer")
        return self

    @property
    def preferred(self) -> int | None:
        """Which of the item's answers is better, 0 or 1; None where neither was said to be."""
        return {"left": self.left, "right": 1 - self.left}.get(self.verdict)


@dataclass(frozen=True)
class Judged:
    """What stands in a log: the last word of each reviewer on each item, in the order in which they were said."""

    standing: list[Judgement]
    undone: int
    torn: list[int]
    """Numbers of the lines that a crash cut off."""

    def by(self, reviewer: str) -> dict[str, Judgement]:
        """This reviewer's judgements by item, oldest first."""
        return {each.item: each for each in self.standing if each.reviewer == reviewer}


def append(path: Path, judgement: Judgement) -> None:
    """Add one line and wait until the disk has it. Raises OSError when it could not be written whole."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        ends_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        said = judgement.model_dump(mode="json", exclude_none=True)
        line = b"\n" * ends_torn + json.dumps(said, ensure_ascii=False).encode() + b"\n"
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"{path}: {written} of {len(line)} bytes written; is the disk full?")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync(path.parent)


def parse_log(content: bytes, name: str) -> Judged:
    """What stands in the bytes of a log; `name` is for complaints. Raises ValueError for a whole line that is no
    judgement."""
    standing: dict[tuple[str, str], Judgement] = {}
    torn, undone = [], 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError:
            torn.append(number)
            continue
        try:
            judgement = Judgement.model_validate(said)
        except ValidationError as error:
            raise ValueError(
                f"{name}:{number}: {error.errors()[0]['msg']}; this line was not written by `gristmill review`"
            ) from error
        earlier = standing.pop((judgement.reviewer, judgement.item), None)
        if judgement.verdict == "undo":
            undone += earlier is not None
        else:
            standing[judgement.reviewer, judgement.item] = judgement
    return Judged(list(standing.values()), undone, torn)
