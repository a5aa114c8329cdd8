"""How well a classifier separates labelled texts, how often it blames harmless ones, and which side of a pair it likes.

The intervals are 95 % bootstrap intervals (percentiles of 999 samples, seed 0). Pairs are drawn by group: the sentences
of one document resemble each other.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.filters.classifier import Task
from gristmill.filters.labelled_text import LabelledText

Scores = dict[str, Any]

GROUP_SENTENCES = Path(__file__).parent / "models" / "group_sentences.json"
ALL = "all held out"


def evaluate_scores(
    score: Callable[[str], float],
    rows: Iterable[LabelledText],
    task: Task,
    *,
    threshold: float,
    others: Iterable[LabelledText] = (),
) -> dict[str, Scores]:
    """Scores by source, and for `all held out` the rows together. A text above `threshold` counts as positive.

    others: texts of sources that say something by themselves only, such as harmless ones that nobody labelled.

    Values that a source lacks the labels or pairs for are null; `false_positive_rate` is that of its negative texts,
    `pairs_right` the share of pairs whose positive side scores higher.
    """
    by_source: dict[str, list[tuple[LabelledText, float]]] = {}
    together: list[tuple[LabelledText, float]] = []
    for group, texts in (("rows", rows), ("others", others)):
        for row in texts:
            scored = (row, score(row.text))
            by_source.setdefault(row.source, []).append(scored)
            together += [scored] if group == "rows" else []
    several = len({row.source for row, _ in together}) > 1
    groups = by_source | ({ALL: together} if several else {})
    return {source: _scores(found, task, threshold) for source, found in groups.items()}


def evaluate_topics(
    label: Callable[[str], tuple[str | None, float]], rows: Iterable[LabelledText]
) -> dict[str, Scores]:
    """Texts, precision, recall and f1 by topic; for `all held out` the share that is right, and the mean f1."""
    answers = [(row.label, label(row.text)[0]) for row in rows]
    found: dict[str, Scores] = {}
    for topic in sorted({true for true, _ in answers}):
        true, called = sum(t == topic for t, _ in answers), sum(c == topic for _, c in answers)
        hits = sum(t == c == topic for t, c in answers)
        found[topic] = {
            "texts": true,
            "precision": hits / called if called else None,
            "recall": hits / true,
            "f1": 2 * hits / (called + true),
        }
    if answers:
        right = sum(t == c for t, c in answers) / len(answers)
        found[ALL] = {
            "texts": len(answers),
            "accuracy": right,
            "largest_topic": max(Counter(t for t, _ in answers).values()) / len(answers),
            "f1": float(np.mean([one["f1"] for one in found.values()])),
        }
    return found


def group_sentences(language: str) -> Iterator[LabelledText]:
    """Harmless sentences that name groups of people, from templates of ours; none for a language without them."""
    sentences = json.loads(GROUP_SENTENCES.read_text(encoding="utf-8")).get(language)
    for template in sentences["templates"] if sentences else []:
        for group in sentences["groups"]:
            text = template.format(group=group)
            yield LabelledText(text[0].upper() + text[1:], "harmless", source="sentences naming groups")


def _scores(found: Sequence[tuple[LabelledText, float]], task: Task, threshold: float) -> Scores:
    positive = np.array([row.label == task.positive for row, _ in found])
    score = np.array([score for _, score in found])
    called = score > threshold
    hits, called_count = int((called & positive).sum()), int(called.sum())
    positive_count, negative_count = int(positive.sum()), int((~positive).sum())
    both = positive_count > 0 and negative_count > 0
    scores: Scores = {
        "texts": len(found),
        "positive": positive_count,
        "precision": hits / called_count if both and called_count else None,
        "recall": hits / positive_count if positive_count else None,
        "f1": 2 * hits / (called_count + positive_count) if both else None,
        "roc_auc": _roc_auc(positive, score) if both else None,
        "roc_auc_interval": _interval(_roc_auc, positive, score) if both else None,
        "false_positive_rate": (called_count - hits) / negative_count if negative_count else None,
    }
    return scores | _pairs(found, task)


def _roc_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive text scores above a negative one, ties counted half (Mann and Whitney 1947)."""
    positive = positive.astype(bool)
    negative = np.sort(score[~positive])
    if len(negative) in (0, len(score)):
        return 0.5  # a sample of the bootstrap without one of the labels
    below = np.searchsorted(negative, score[positive], side="left")
    not_above = np.searchsorted(negative, score[positive], side="right")
    return float((below + not_above).mean() / (2 * len(negative)))


def _pairs(found: Sequence[tuple[LabelledText, float]], task: Task) -> Scores:
    sides: dict[str, dict[str, tuple[LabelledText, float]]] = defaultdict(dict)
    for row, score in found:
        if row.pair:
            sides[row.pair][row.label] = (row, score)
    by_group: dict[str, list[int]] = {}
    for pair in sides.values():
        if len(pair) == 2:
            (row, high), (_, low) = pair[task.positive], pair[task.negative]
            counts = by_group.setdefault(row.group, [0, 0])
            counts[0] += high > low
            counts[1] += 1
    right, pairs = np.array(list(by_group.values())).reshape(-1, 2).T
    if not pairs.sum():
        return {"pairs": None, "pairs_right": None, "pairs_right_interval": None}
    return {
        "pairs": int(pairs.sum()),
        "pairs_right": float(right.sum() / pairs.sum()),
        "pairs_right_interval": _interval(lambda r, n: float(r.sum() / n.sum()), right, pairs),
    }


def _interval(statistic: Callable[..., float], *samples: np.ndarray) -> list[float] | None:
    """Null where there is too little to draw from."""
    if len(samples[0]) < 2:
        return None
    from scipy.stats import bootstrap

    options: dict[str, Any] = {"paired": True, "vectorized": False, "method": "percentile", "n_resamples": 999}
    found = bootstrap(samples, statistic, rng=np.random.default_rng(0), **options)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]
