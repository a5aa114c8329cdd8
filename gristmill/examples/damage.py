"""A right answer made worse in ways that a reader sees at once: cut off, stuttering, out of order.

A small model can hardly tell two functions' summaries apart, but it can learn to finish a sentence and to say things
once. What is wrong and where follows from the text's own hash and the seed.
"""

from collections.abc import Callable

import numpy as np

from gristmill.examples.functions import seeded_digest

MIN_WORDS = 4
REPEATS = 4


def damaged(text: str, *, seed: int) -> tuple[str, str]:
    """The text with one fault, and the fault's name. Raises ValueError below `MIN_WORDS` words."""
    words = text.split()
    if len(words) < MIN_WORDS:
        raise ValueError(f"{text!r} has fewer than {MIN_WORDS} words, too few to damage")
    random = np.random.default_rng(int.from_bytes(seeded_digest(seed, text)[:8]))
    name = sorted(FAULTS)[int(random.integers(len(FAULTS)))]
    return " ".join(FAULTS[name](words, random)), name


def _cut(words: list[str], random: np.random.Generator) -> list[str]:
    """Ends in the middle half of its words, without a full stop."""
    kept = words[: int(random.integers(max(2, len(words) // 4), max(3, 3 * len(words) // 4)))]
    return [*kept[:-1], kept[-1].rstrip(".,;:!?")]


def _repeated(words: list[str], random: np.random.Generator) -> list[str]:
    """Says two or three words again and again, and never goes on."""
    length = int(random.integers(2, 4))
    first = int(random.integers(0, len(words) - length + 1))
    return [*words[:first], *words[first : first + length] * REPEATS]


def _shuffled(words: list[str], random: np.random.Generator) -> list[str]:
    """The same words in another order."""
    while True:
        order = random.permutation(len(words))
        mixed = [words[place] for place in order]
        if mixed != words or len(set(words)) == 1:
            return mixed


FAULTS: dict[str, Callable[[list[str], np.random.Generator], list[str]]] = {
    "cut": _cut,
    "repeated": _repeated,
    "shuffled": _shuffled,
}
