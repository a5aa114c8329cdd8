"""A question to a model, its reply, and the judge who is never asked the same thing twice."""

import hashlib
import json
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gristmill.errors import SourceUnavailable
from gristmill.judge.memory import Memory
from gristmill.judge.templates import Message
from gristmill.progress import progress


@dataclass(frozen=True)
class Question:
    """messages: a conversation that ends with what is asked. seed: decides where the temperature is above 0. options:
    replies that may be chosen from, for a respondent that does so (its identity says it, so they are in no key)."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """text: None where there is none: the question had no room in the model's context or spells one of its
    special tokens, or every attempt failed.

    tries: attempts that it took. cut: it was not at its end when it reached the longest length that was asked for.
    """

    text: str | None
    why: Literal["", "too_long", "spells_special_token", "failed"] = ""
    error: str = ""
    tries: int = 1
    cut: bool = False

    @property
    def said(self) -> str:
        """Without white space around it; empty where there is no text."""
        return (self.text or "").strip()

    @property
    def fault(self) -> str:
        """Why it is no whole text; empty where it is one, be it an empty one."""
        return self.why or ("cut_off" if self.cut else "")


class Respondent(Protocol):
    """Whoever replies."""

    name: str

    @property
    def identity(self) -> dict[str, Any]:
        """What decides replies, beside the question."""
        ...

    def replies(self, questions: Sequence[Question]) -> Generator[tuple[int, Reply]]:
        """Each question's number and its reply, in any order."""
        ...


class JudgeFailed(SourceUnavailable):
    """A question was not answered, after all attempts."""


class Judge:
    """Asks a respondent what it has not been asked before; replies are on disk before they are used."""

    def __init__(self, respondent: Respondent, memory: Path) -> None:
        """memory: a JSON-lines file, begun where there is none."""
        self.respondent, self._memory = respondent, Memory(memory)
        self.counts: Counter[str] = Counter()
        """questions, remembered, attempts, failed_attempts, failed, too_long, spells_special_token."""

    def ask(self, questions: Sequence[Question], *, label: str, tolerant: bool = False) -> list[Reply]:
        """Replies in the order of the questions. Equal questions are asked once.

        Raises JudgeFailed at the first question that failed; with `tolerant`, its reply has no text instead. Failures
        are forgotten, so that the next run asks again.
        """
        keys = [_key(self.respondent.identity, question) for question in questions]
        missing = list(dict.fromkeys(key for key in keys if key not in self._memory))
        asked = dict(zip(keys, questions, strict=True))
        failed: dict[str, Reply] = {}
        self.counts.update(questions=len(asked), remembered=len(asked) - len(missing))
        replying = closing(self.respondent.replies([asked[key] for key in missing]))  # an error calls the rest off
        with progress(label, total=len(missing), unit="questions") as bar, replying as replies:
            for number, reply in replies:
                self.counts.update(attempts=reply.tries, failed_attempts=reply.tries - (reply.why != "failed"))
                if reply.why == "failed":
                    self.counts["failed"] += 1
                    if not tolerant:
                        raise JudgeFailed(
                            f"{self.respondent.name}: {reply.error}; what it answered before is kept, so start again "
                            "when it answers"
                        )
                    failed[missing[number]] = reply
                else:
                    self._memory.add(missing[number], asdict(reply))
                bar.advance()
        found = [failed.get(key) or Reply(**self._memory[key]) for key in keys]
        for why in ("too_long", "spells_special_token"):
            self.counts[why] += sum(reply.why == why for reply in found)
        return found


def _key(identity: dict[str, Any], question: Question) -> str:
    asked = {name: value for name, value in asdict(question).items() if name != "options"}
    content = json.dumps([identity, asked], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
