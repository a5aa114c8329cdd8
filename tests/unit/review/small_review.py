"""A small review, and judgements of it."""

from pathlib import Path

from gristmill.review.folder import ASSIGNMENT, QUEUE
from gristmill.review.log import Judgement
from gristmill.review.queue import Candidate, ChatMessage, Item, ShownAnswer, make_queue, read_queue, write_queue


def candidate(number: int) -> Candidate:
    """A sum, answered right by the model `a` and wrong by `b`."""
    return Candidate(
        [ChatMessage(role="user", content=f"What is {number} + 1?")],
        [ShownAnswer(model="a", text=f"It is {number + 1}."), ShownAnswer(model="b", text=f"{number}, I think.")],
        f"{number} + 1 is {number + 1}, which is one more than {number}.",
    )


def write_review(folder: Path, *, prompts: int = 6) -> dict[str, Item]:
    """`prompts` sums as a review in `folder`; a tenth of them, at least one, with a planted error."""
    folder.mkdir(exist_ok=True)
    items, _ = make_queue([candidate(number) for number in range(10, 10 + prompts)], seed=0, planted=0.1)
    write_queue(folder / QUEUE, items)
    (folder / ASSIGNMENT).write_text("Which answer is right?")
    return read_queue(folder / QUEUE)


def says(reviewer: str, item: Item, *, prefers: int) -> Judgement:
    """The reviewer's judgement that this answer, 0 or 1, is better, by the side on which it stood."""
    left = item.left_for(reviewer)
    return Judgement(reviewer=reviewer, item=item.id, verdict="left" if prefers == left else "right", left=left)


def real(items: dict[str, Item]) -> list[Item]:
    """The items without a planted error."""
    return [item for item in items.values() if item.planted is None]
