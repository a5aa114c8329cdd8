"""Two answers compared in both orders, or each rated by a rubric.

A judge often prefers a place instead of an answer (Zheng et al. 2023, arXiv:2306.05685). So each pair is shown in both
orders, and only a verdict that names the same answer twice counts; all else is kept apart and counted, and a reply
without a readable verdict is never guessed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gristmill.judge.questions import Judge, Question, Reply
from gristmill.judge.templates import COMPARE, RATE, VERDICTS, Choice, Message, parsed_score, parsed_verdict, transcript

Outcome = Literal["first", "second", "tie", "half_tie", "order_flipped", "unreadable", "unanswered"]


@dataclass(frozen=True)
class Contest:
    """Two answers to one prompt."""

    prompt: Sequence[Message]
    first: str
    second: str


@dataclass(frozen=True)
class Compared:
    """replies: to `first` as answer A, then to `second` as answer A. choices: what they say, None where unreadable."""

    replies: tuple[Reply, Reply]
    choices: tuple[Choice | None, Choice | None]

    @property
    def outcome(self) -> Outcome:
        """`half_tie`: a preference in one order alone. `order_flipped`: the same place was preferred twice."""
        if any(reply.text is None for reply in self.replies):
            return "unanswered"
        if None in self.choices:
            return "unreadable"
        named: dict[Any, Outcome] = {
            ("A", "B"): "first",
            ("B", "A"): "second",
            ("tie", "tie"): "tie",
            ("A", "A"): "order_flipped",
            ("B", "B"): "order_flipped",
        }
        return named.get(self.choices, "half_tie")

    @property
    def preferred(self) -> Literal[0, 1] | None:
        """Which answer won in both orders."""
        outcome = self.outcome
        return 0 if outcome == "first" else 1 if outcome == "second" else None


def compare(
    judge: Judge, contests: Sequence[Contest], *, criterion: str, max_tokens: int, tolerant: bool = False
) -> list[Compared]:
    """Each contest, asked twice. Raises JudgeFailed unless `tolerant`."""
    questions = [
        Question(tuple(_shown(contest, one, other, criterion)), max_tokens, options=VERDICTS)
        for contest in contests
        for one, other in ((contest.first, contest.second), (contest.second, contest.first))
    ]
    replies = judge.ask(questions, label="judge: comparisons", tolerant=tolerant)
    choices: list[Choice | None] = [None if reply.text is None else parsed_verdict(reply.text) for reply in replies]
    return [
        Compared((replies[at], replies[at + 1]), (choices[at], choices[at + 1])) for at in range(0, len(replies), 2)
    ]


def rate(
    judge: Judge, answers: Sequence[tuple[Sequence[Message], str]], *, criterion: str, max_tokens: int
) -> list[int | None]:
    """A score of 1 to 10 for each (prompt, answer); None where none can be read. Raises JudgeFailed."""
    questions = [
        Question(
            tuple(RATE.filled(material={"conversation": transcript(prompt), "answer": answer}, criterion=criterion)),
            max_tokens,
        )
        for prompt, answer in answers
    ]
    replies = judge.ask(questions, label="judge: ratings")
    # `Score: 1` may be the beginning of `Score: 10`
    return [None if reply.text is None or reply.cut else parsed_score(reply.text) for reply in replies]


def order_agreement(compared: Sequence[Compared]) -> tuple[int, int]:
    """Pairs with the same verdict in both orders (ties among them), and pairs with two readable verdicts."""
    outcomes = Counter(each.outcome for each in compared)
    agreed = outcomes["first"] + outcomes["second"] + outcomes["tie"]
    return agreed, agreed + outcomes["half_tie"] + outcomes["order_flipped"]


def _shown(contest: Contest, one: str, other: str, criterion: str) -> list[Message]:
    material = {"conversation": transcript(contest.prompt), "answer_A": one, "answer_B": other}
    return COMPARE.filled(material=material, criterion=criterion)
