"""What answers multiple-choice questions without any model: counting shared words, or taking the shortest choice."""

import re
from collections.abc import Sequence

import numpy as np

from gristmill.examples.overlap import name_words, summary_words

_NAME = re.compile(r"`([^`]+)`")


def shared_words(question: str, choices: Sequence[str]) -> list[float]:
    """For each choice the words it shares with the name in backticks (or, without one, with the question)."""
    name = _NAME.search(question)
    wanted = name_words(name.group(1)) if name else summary_words(question)
    return [float(len(wanted & summary_words(choice))) for choice in choices]


def shortness(choices: Sequence[str]) -> list[float]:
    """Minus the bytes of each choice: the highest is the shortest."""
    return [-float(len(choice.encode())) for choice in choices]


def expected_correct(scores: Sequence[float], answer: int) -> float:
    """Chance of being right when ties for the highest score are broken by a fair die. NaN when a score is NaN."""
    found = np.asarray(scores, dtype=np.float64)
    if np.isnan(found).any():
        return float("nan")
    best = found == found.max()
    return float(best[answer] / best.sum())
