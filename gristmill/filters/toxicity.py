"""Toxicity of a text: a fastText classifier (Joulin et al. 2017, arXiv:1607.01759) over short passages.

The classifier learns from comments, so a page is scored in passages of a comment's length, and its score is their mean:
near the share of toxic passages. A maximum would grow with a page's length, and one quoted insult would drop a book.
"""

import html
import math
import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

PASSAGE_WORDS = 50
TOXIC_LABEL, HARMLESS_LABEL = "__label__toxic", "__label__harmless"

_NO_WORDS = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|\brt\b")
_WORD = re.compile(r"[^\W\d_]+(?:['’*]+[^\W\d_]*)*")


class ToxicityClassifier:
    """A loaded model. Not picklable: every worker loads its own, in some milliseconds."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ValueError when the file is missing or no model of toxicity."""
        import fasttext

        try:
            model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} is no fastText model; make one with `gristmill toxicity train` and set signals.toxicity to it"
            ) from error
        labels = [str(label) for label in model.get_labels()]
        if set(labels) != {TOXIC_LABEL, HARMLESS_LABEL}:
            raise ValueError(
                f"{path} knows the labels {', '.join(labels[:5])} and not {TOXIC_LABEL} and "
                f"{HARMLESS_LABEL}; make one with `gristmill toxicity train`"
            )
        return cls(model)

    def score(self, text: str) -> float:
        """Mean probability, 0 to 1, that a passage of the text is toxic; 0 for a text without words."""
        passages = split_passages(text)
        if not passages:
            return 0.0
        labels, probabilities = self._model.predict(passages, k=1)
        return statistics.fmean(
            min(1.0, float(p[0])) if label[0] == TOXIC_LABEL else max(0.0, 1.0 - float(p[0]))
            for label, p in zip(labels, probabilities, strict=True)
        )


def split_passages(text: str) -> list[str]:
    """The words of a text in passages of nearly equal length, at most PASSAGE_WORDS each."""
    words = normalized_words(text)
    count = math.ceil(len(words) / PASSAGE_WORDS)
    bounds = [len(words) * number // count for number in range(count + 1)] if count else []
    return [" ".join(words[start:end]) for start, end in pairwise(bounds)]


def normalized_words(text: str) -> list[str]:
    """Folded words without digits, addresses, mentions and hashtags; asterisks inside a word stay (`sh*t`)."""
    return _WORD.findall(_NO_WORDS.sub(" ", html.unescape(text).casefold()))
