"""A model card, and the same tables for the terminal: what a classifier learned from, and what it is worth."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gristmill.filters.classifier import Task
from gristmill.filters.classifier_evaluation import ALL, Scores
from gristmill.filters.labelled_text import LabelledText

COLUMNS = ("texts", "positive", "precision", "recall", "f1", "roc_auc", "false_positive_rate", "pairs", "pairs_right")
TOPIC_COLUMNS = ("texts", "precision", "recall", "f1", "accuracy", "largest_topic")

SUBJECT = {
    "toxicity": "toxic from harmless text; the score of a page is the mean over its passages of 50 words",
    "quality": "reference text from the crawl (DCLM's recipe, arXiv:2406.11794)",
    "literacy": "corrected from uncorrected text; the score of a page is the mean over its passages of 30 words",
    "topic": "what a text is about",
}
LIMITS = {
    "toxicity": """- It knows words more than meanings: quoted insults and reclaimed words are blamed too often, and
  contempt and threats without a slur pass. The table says how often harmless sentences that name groups are blamed.
- It judges passages of a page together; do not judge single sentences by it.
- A low score does not make a page safe: sexual, violent or illegal content without insults is not its subject.""",
    "quality": """- It prefers what resembles its reference texts, in subject as much as in style.
- Scores of two models, or of two languages, cannot be compared: keep a top fraction for each language.""",
    "literacy": """- It knows the mistakes of its training texts: other learners and typing habits are judged by them.
- A high score says that known mistakes are absent, not that a text is true or good.""",
    "topic": "- Every text gets one of the known topics, also where none fits: see `topic_score`.",
}
WORD_LIST_LIMITS = """- A word list finds the forms it lists: other endings and spellings, and threats without a listed
  word, pass. It has no opinion on what surrounds a word."""


@dataclass(frozen=True)
class Card:
    """What is known of a classifier, or of a language without one.

    model: None where there are no labels to train on. scores, word_list: by source; word_list is a list of listed words
    taken as a classifier. translated_from: the measured labels were given in another language.
    """

    task: Task
    language: str
    threshold: float
    scores: Mapping[str, Scores]
    model: Path | None = None
    trained_on: Sequence[LabelledText] = ()
    files: Sequence[Path] = ()
    licenses: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    word_list: Mapping[str, Scores] = field(default_factory=dict)
    word_list_name: str = ""
    translated_from: str | None = None

    def as_json(self) -> dict[str, Any]:
        report: dict[str, Any] = {"schema_version": 1, "task": self.task.name, "language": self.language}
        report |= {"sha256": self.model and _sha256(self.model), "threshold": self.threshold, "sources": self.scores}
        return report | {"word_list": self.word_list, "translated_from": self.translated_from}

    def tables(self) -> str:
        """The scores, for a terminal and for the card."""
        parts = []
        if self.scores:
            parts.append(_table(self.scores, COLUMNS if self.task.positive else TOPIC_COLUMNS))
        if self.word_list:
            title = f"The word list {self.word_list_name} on the same texts (positive: a listed word or more):"
            parts += [title, _table(self.word_list, COLUMNS)]
        return "\n\n".join(parts)

    def markdown(self) -> str:
        name = self.model.name if self.model else f"{self.task.name}.{self.language}: no model"
        return "\n\n".join([f"# {name}", *self._what(), *self._data(), *self._measured(), self._limits()]) + "\n"

    def _what(self) -> list[str]:
        if self.model is None:
            return [
                f"There are no labels of {self.task.name} by speakers of this language (`{self.language}`) here, so "
                f"there is no model, and `{self.task.name}` is null in its documents."
            ]
        size = f"{self.model.stat().st_size:,} bytes, sha256 `{_sha256(self.model)}`"
        labels = f" Above {self.threshold} a text counts as `{self.task.positive}`." if self.task.positive else ""
        return [
            f"A fastText classifier for texts in `{self.language}`: {SUBJECT[self.task.name]}. {size}. Trained from "
            f"nothing, with seed {self.seed}; the same files and seed give the same bytes.{labels}"
        ]

    def _data(self) -> list[str]:
        if not self.trained_on:
            return []
        digests = {path.name.split(".")[0]: _sha256(path)[:16] for path in self.files}
        counts: dict[str, Counter[str]] = {}
        for row in self.trained_on:
            counts.setdefault(row.source, Counter())[row.label] += 1
        lines = ["| source | trained on | licence | sha256 |", "|---|---|---|---|"]
        for source, labels in counts.items():
            said = ", ".join(f"{count:,} {label}" for label, count in labels.most_common())
            lines.append(
                f"| {source} | {said} | {self.licenses.get(source, 'not stated')} | {digests.get(source, '–')} |"
            )
        return ["## Data", "\n".join(lines), "A fifth of the texts, chosen by a hash, was held out of training."]

    def _measured(self) -> list[str]:
        if not self.scores and not self.word_list:
            return []
        notes = ["All on texts that the training never saw."] if self.model else []
        if self.translated_from:
            notes.append(
                f"The labels were given to texts in `{self.translated_from}` and the texts then translated: they do "
                "not say what speakers of this language find offensive."
            )
        return ["## Scores", *([" ".join(notes)] if notes else []), self.tables()]

    def _limits(self) -> str:
        return f"## Limits\n\n{LIMITS[self.task.name] if self.model else WORD_LIST_LIMITS}"


def _table(scores: Mapping[str, Scores], columns: Sequence[str]) -> str:
    shown = [column for column in columns if any(values.get(column) is not None for values in scores.values())]
    lines = ["| source | " + " | ".join(column.replace("_", " ") for column in shown) + " |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for source, values in sorted(scores.items(), key=lambda item: item[0] == ALL):
        cells = (_cell(values.get(column), values.get(f"{column}_interval")) for column in shown)
        lines.append(f"| {source} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | int | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
