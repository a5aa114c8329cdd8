"""Pages with planted duplicates."""

import random
from typing import Any

LEXICON = [f"word{number}" for number in range(3000)]


def prose(seed: int, length: int = 200) -> list[str]:
    return random.Random(seed).choices(LEXICON, k=length)


def altered(text: list[str], *, changes: int, seed: int) -> list[str]:
    """Runs of changed words, so that 5-gram similarity falls slowly."""
    changed = list(text)
    start = random.Random(seed).randrange(len(text) - changes)
    changed[start : start + changes] = prose(seed + 1, changes)
    return changed


def corpus() -> list[dict[str, Any]]:
    """123 pages: originals, near copies, exact copies, recaptures. doc_ids are given by URL."""
    rows: list[dict[str, Any]] = []
    for number in range(40):
        original = prose(number)
        rows += [
            {"url": f"https://a.org/{number}", "text": " ".join(original)},
            {"url": f"https://b.org/{number}", "text": " ".join(altered(original, changes=number, seed=number))},
            {"url": f"https://c.org/{number}", "text": " ".join(prose(1000 + number)).upper()},
        ]
    return [
        *rows,
        {"url": "http://www.c.org/3/#top", "text": " ".join(prose(77)), "date": "2026-05-01T00:00:00Z"},
        {"url": "https://d.org/9", "text": ", ".join(prose(1009))},
        {"url": "https://d.org/empty", "text": ""},
    ]


def chain(length: int, *, seed: int = 0, step: int = 10) -> list[list[str]]:
    """Texts of 200 words, each by `step` words different from the one before: neighbours resemble, ends do not."""
    texts = [prose(seed)]
    for number in range(1, length):
        following = list(texts[-1])
        start = (number * step) % 200
        following[start : start + step] = prose(seed * 1000 + number, step)
        texts.append(following)
    return texts
