"""A review on disk: `queue.jsonl`, `assignment.txt`, and `judgements.jsonl` once somebody has judged."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gristmill.review.log import Judged, parse_log
from gristmill.review.queue import Item, read_queue

QUEUE, LOG, ASSIGNMENT = "queue.jsonl", "judgements.jsonl", "assignment.txt"


@dataclass(frozen=True)
class Review:
    """A review as it was when it was read; judging goes on meanwhile."""

    items: dict[str, Item]
    judged: Judged
    digest: str
    """Of the queue and of the log as far as it was read."""


def read_review(folder: Path) -> Review:
    """Raises ValueError naming file and line, when there is no queue, or when the log speaks of items not in it."""
    items = read_queue(folder / QUEUE)
    log = folder / LOG
    content = log.read_bytes() if log.exists() else b""
    judged = parse_log(content, LOG)
    strange = next((each.item for each in judged.standing if each.item not in items), None)
    if strange:
        raise ValueError(
            f"{folder}: {LOG} judges item {strange}, which is not in {QUEUE}; the log belongs to another queue"
        )
    digest = hashlib.sha256((folder / QUEUE).read_bytes()).hexdigest() + hashlib.sha256(content).hexdigest()
    return Review(items, judged, hashlib.sha256(digest.encode()).hexdigest())
