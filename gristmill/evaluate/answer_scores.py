"""What a generated answer is worth, by a program: 1 for right and 0 for wrong, or a share."""

from collections.abc import Callable
from functools import cache
from typing import Any

from gristmill.align.online.constraints import follows
from gristmill.align.online.rewards import final_number

Score = Callable[[dict[str, Any], str, str, str], float]
"""Of an item's fields, its prompt, the right answer and the answer that was given."""


def _exact_match(item: dict[str, Any], prompt: str, right: str, answer: str) -> float:
    return float(answer.strip() == right.strip())


def _number(item: dict[str, Any], prompt: str, right: str, answer: str) -> float:
    """Whether the last number of both is the same one."""
    return float(final_number(answer) == final_number(right) is not None)


def _all_followed(item: dict[str, Any], prompt: str, right: str, answer: str) -> float:
    return float(all(_followed(item, answer)))


def _followed_share(item: dict[str, Any], prompt: str, right: str, answer: str) -> float:
    followed = _followed(item, answer)
    return sum(followed) / len(followed)


def _followed(item: dict[str, Any], answer: str) -> list[bool]:
    """Of each of an IFEval item's instructions (arXiv:2311.07911; strict)."""
    return [
        follows(answer, name, given) for name, given in zip(item["instruction_id_list"], item["kwargs"], strict=True)
    ]


def same_language(prompt: str, answer: str) -> bool:
    """Whether gristmill's identifier finds one language in both."""
    identify = _identifier().identify
    return identify(answer)[0] == identify(prompt)[0]


@cache
def _identifier() -> Any:
    from gristmill.text.config import LanguageConfig
    from gristmill.text.language import LanguageIdentifier

    return LanguageIdentifier(LanguageConfig())


SCORES: dict[str, Score] = {
    "exact_match": _exact_match,
    "number": _number,
    "all_followed": _all_followed,
    "followed_share": _followed_share,
    "same_language": lambda _item, prompt, _right, answer: float(same_language(prompt, answer)),
}
