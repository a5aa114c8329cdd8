"""Errors planted in answers known to be good, of the kind that inattentive readers let pass.

Left out: errors that need a model to invent them.
"""

import re
from collections.abc import Sequence
from typing import Literal

Error = Literal["numbers_changed", "truncated", "other_prompt"]

MIN_WORDS = 6


def spoiled(text: str, *, foreign: Sequence[str], draw: int) -> tuple[Error, str]:
    """What was done, and the spoiled text. foreign: answers to other prompts. draw: any whole number; it decides.

    Raises ValueError when the text is too short, has no number and there is no other answer.
    """
    ways: list[tuple[Error, str]] = []
    if re.search(r"\d", text):
        # 1 to 8 more, without a carry: never the same digit
        shift = 1 + draw // 7 % 8
        ways.append(("numbers_changed", re.sub(r"\d(?!\d)", lambda digit: str((int(digit[0]) + shift) % 10), text)))
    words = list(re.finditer(r"\S+", text))
    if len(words) >= MIN_WORDS:
        ways.append(("truncated", text[: words[len(words) // 2 - 1].end()]))
    others = sorted({other for other in foreign if other.strip() != text.strip()})
    if others:
        ways.append(("other_prompt", others[draw // 3 % len(others)]))
    if not ways:
        raise ValueError(
            f"no error can be planted in {text[:40]!r}: it has no number and fewer than {MIN_WORDS} words, and there "
            "is no other prompt's answer; give longer reference answers, or plant nothing with 0"
        )
    return ways[draw % len(ways)]
