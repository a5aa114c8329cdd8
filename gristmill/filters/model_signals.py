"""The signals that files outside the code decide: classifiers by task and language, and lists of bad words.

`prepare_models` runs once: it finds each file, looks whether it is whole, and trains what the configuration says to
train here. `ModelSignals` runs in every worker, with the files that were found.
"""

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.filters.classifier import TASKS, Classifier, Task, check_model
from gristmill.filters.classifier_config import (
    MODELS,
    ClassifiersConfig,
    TaskName,
    TrainClassifier,
    remedy_of,
    setting_of,
)
from gristmill.filters.classifier_evaluation import ALL, evaluate_scores, evaluate_topics
from gristmill.filters.classifier_training import train_classifier
from gristmill.filters.labelled_text import LabelledText, read_labelled, read_unlabelled, split_held_out
from gristmill.filters.word_list import WordList
from gristmill.progress import progress
from gristmill.reference_files import reference_file
from gristmill.text.documents import read_documents

MODEL_FIELDS = [
    ("toxicity", pa.float32()),
    ("quality", pa.float32()),
    ("literacy", pa.float32()),
    ("topic", pa.string()),
    ("topic_score", pa.float32()),
    ("bad_words", pa.int32()),  # listed words, each as often as it is used
    ("bad_word_ratio", pa.float32()),  # of all words
]
"""Columns. A null means: there is no model or list for this document's language, or no word in it."""


@dataclass(frozen=True)
class ModelFiles:
    """Local files: models[task][language] and word_lists[language]."""

    models: dict[str, dict[str, Path]]
    word_lists: dict[str, Path]
    max_chars: int


def prepare_models(
    config: ClassifiersConfig, bad_words: dict[str, str], documents: Path, out: Path
) -> tuple[ModelFiles, dict[str, Any]]:
    """(the files that workers read, held-out scores of the models trained here by their setting).

    documents: the artifact that comes in, what quality's negative texts are drawn from. Models trained here are written
    to `out/models` and stay in the artifact. Raises SourceUnavailable for a file that cannot be read, ValueError for
    one that is no model or no list.
    """
    trained: dict[str, Any] = {}
    models: dict[str, dict[str, Path]] = {}
    for name in TASKS:
        task: TaskName = name  # pyright: ignore[reportAssignmentType]
        for language, model in config.models(task).items():
            setting = setting_of(task, language)
            if isinstance(model, str):
                path = reference_file(model, setting=setting, remedy=remedy_of(task, language))
                if path.parent != MODELS:
                    check_model(path, TASKS[task])
            else:
                path = out / "models" / f"{task}.{language}.ftz"
                trained[setting] = _trained(TASKS[task], language, model.train, documents, path)
            models.setdefault(task, {})[language] = path
    lists = {
        language: reference_file(place, setting=f"signals.bad_words.{language}")
        for language, place in sorted(bad_words.items())
    }
    for path in lists.values():
        WordList.load(path)  # a fault is said before hours of work
    return ModelFiles(models, lists, config.max_chars), trained


class ModelSignals:
    """Scores of documents. A model is loaded with the first document of its language.

    missing: documents by language that lack a model, for toxicity and for each task that has one for another language.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._classifiers: dict[tuple[str, str], Classifier] = {}
        self._word_lists = {language: WordList.load(path) for language, path in files.word_lists.items()}
        self.missing: dict[str, Counter[str]] = {task: Counter() for task in {"toxicity", *files.models}}

    def measure(self, text: str, language: str) -> dict[str, Any]:
        """A value for each of MODEL_FIELDS."""
        found: dict[str, Any] = dict.fromkeys(name for name, _ in MODEL_FIELDS)
        for task in self.missing:
            classifier = self._classifier(task, language)
            if classifier is None:
                self.missing[task][language] += 1
            elif task == "topic":
                topic, score = classifier.label(text)
                found |= {"topic": topic, "topic_score": None if topic is None else score}
            else:
                found[task] = classifier.score(text)
        if language in self._word_lists:
            listed, words = self._word_lists[language].count(text)
            found |= {"bad_words": listed, "bad_word_ratio": listed / max(1, words)}
        return found

    def _classifier(self, task: str, language: str) -> Classifier | None:
        path = self._files.models.get(task, {}).get(language)
        if path is None:
            return None
        if (task, language) not in self._classifiers:
            loaded = Classifier.load(path, TASKS[task], max_chars=self._files.max_chars)
            self._classifiers[task, language] = loaded
        return self._classifiers[task, language]


def _trained(task: Task, language: str, config: TrainClassifier, documents: Path, out: Path) -> dict[str, Any]:
    """Train a model into `out` unless it stands there already; the scores on the fifth that was held out."""
    scores = out.with_suffix(".json")
    if out.exists() and scores.exists():
        return json.loads(scores.read_text())
    setting = f"{setting_of(task.name, language)}.train"  # pyright: ignore[reportArgumentType]
    with progress(f"training {out.stem}", total=None, unit="texts"):
        training, held_out = split_held_out(_texts(task, language, config, documents, setting))
        train_classifier(training, out, task, seed=config.seed)
    classifier = Classifier.load(out, task)
    measured = (
        evaluate_scores(classifier.score, held_out, task, threshold=0.5)
        if task.positive
        else evaluate_topics(classifier.label, held_out)
    )
    found = {"trained_on": len(training), "held_out": measured.get(ALL) or next(iter(measured.values()), None)}
    scores.write_text(json.dumps(found, indent=2) + "\n")
    return found


def _texts(task: Task, language: str, config: TrainClassifier, documents: Path, setting: str) -> list[LabelledText]:
    def files(name: str) -> list[Path]:
        return [reference_file(place, setting=f"{setting}.{name}") for place in getattr(config, name)]

    rows = list(read_labelled(files("data"), task))
    for name, label in (("positive", task.positive), ("negative", task.negative)):
        if files(name) and not label:
            raise ValueError(f"{setting}.{name}: {task.name} has as many labels as its data name; use `data` alone")
        rows += chain.from_iterable(read_unlabelled(path, label) for path in files(name))
    if not config.negative and config.positive:
        count = sum(row.label == task.positive for row in rows)
        rows += _sample(documents, language, task.negative, count, config.seed)
    return rows


def _sample(documents: Path, language: str, label: str, count: int, seed: int) -> Iterator[LabelledText]:
    """Documents of a language, chosen by a hash of their identifiers: the same whatever the shards are."""

    def order(doc_id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{doc_id}".encode()).digest()

    rows = read_documents(documents, columns=["doc_id", "language"])
    chosen = set(heapq.nsmallest(count, (row["doc_id"] for row in rows if row["language"] == language), key=order))
    texts = {
        row["doc_id"]: row["text"]
        for row in read_documents(documents, columns=["doc_id", "text"])
        if row["doc_id"] in chosen
    }
    for doc_id in sorted(texts):
        yield LabelledText(texts[doc_id], label, source="crawl")
