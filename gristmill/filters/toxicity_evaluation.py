"""How well a toxicity classifier separates labelled texts, and how often it blames harmless ones."""

from collections.abc import Iterable

import numpy as np

from gristmill.filters.labelled_text import LabelledText
from gristmill.filters.toxicity import ToxicityClassifier

Scores = dict[str, float | int | None]


def evaluate_classifier(
    classifier: ToxicityClassifier, rows: Iterable[LabelledText], *, threshold: float
) -> dict[str, Scores]:
    """Scores by source, and for `all labelled` of them together. A text above `threshold` counts as called toxic.

    `precision`, `recall`, `f1` and `roc_auc` are null where a source lacks a label they need;
    `false_positive_rate` is that of its harmless texts.
    """
    by_source: dict[str, list[tuple[bool, float]]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append((row.toxic, classifier.score(row.text)))
    labelled = [pair for pairs in by_source.values() if any(toxic for toxic, _ in pairs) for pair in pairs]
    groups = by_source | ({"all labelled": labelled} if labelled else {})
    return {source: _scores(pairs, threshold) for source, pairs in groups.items()}


def _scores(pairs: list[tuple[bool, float]], threshold: float) -> Scores:
    toxic = np.array([toxic for toxic, _ in pairs])
    score = np.array([score for _, score in pairs])
    called = score > threshold
    hits, called_count = int((called & toxic).sum()), int(called.sum())
    toxic_count, harmless_count = int(toxic.sum()), int((~toxic).sum())
    both = toxic_count > 0 and harmless_count > 0
    return {
        "texts": len(pairs),
        "toxic": toxic_count,
        "precision": hits / called_count if both and called_count else None,
        "recall": hits / toxic_count if toxic_count else None,
        "f1": 2 * hits / (called_count + toxic_count) if both else None,
        "roc_auc": _roc_auc(toxic, score) if both else None,
        "false_positive_rate": (called_count - hits) / harmless_count if harmless_count else None,
    }


def _roc_auc(toxic: np.ndarray, score: np.ndarray) -> float:
    """Probability that a toxic text scores above a harmless one, ties counted half (Mann and Whitney 1947)."""
    harmless = np.sort(score[~toxic])
    below = np.searchsorted(harmless, score[toxic], side="left")
    not_above = np.searchsorted(harmless, score[toxic], side="right")
    return float((below + not_above).mean() / (2 * len(harmless)))
