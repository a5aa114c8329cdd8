"""`gristmill classifier`: make a classifier for a language from labelled text, and measure one."""

import json
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from gristmill.filters.classifier import Task
    from gristmill.filters.classifier_card import Card
    from gristmill.filters.labelled_text import LabelledText

app = App(name="classifier", help="Train and measure classifiers of toxicity, quality, literacy and topic.")

TaskName = Literal["toxicity", "quality", "literacy", "topic"]


def _files(text: str) -> Any:
    return Parameter(consume_multiple=True, negative="", help=text)


Data = Annotated[
    tuple[Path, ...], _files("JSONL files (.gz too): text with a label or a topic, or sentence_good and sentence_bad.")
]
Positive = Annotated[tuple[Path, ...], _files("JSONL or text files whose texts all are of the positive label.")]
Negative = Annotated[tuple[Path, ...], _files("JSONL or text files whose texts all are of the negative label.")]
MeasureOn = Annotated[tuple[Path, ...], _files("Like --data, but only to measure on, never to train on.")]
FalseAlarms = Annotated[
    tuple[Path, ...], _files("Like --negative, but only to count false alarms on, never to train on.")
]
Packages = Annotated[
    tuple[str, ...], _files("Installed packages whose documentation counts as harmless (toxicity only).")
]
Licenses = Annotated[
    tuple[str, ...], _files("For the card: SOURCE=LICENCE, a source being a file's name up to its dot.")
]
Words = Annotated[Path | None, Parameter(help="A list of bad words to compare with: a word or phrase a line.")]
CardFile = Annotated[Path | None, Parameter(help="Write the model card here.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]

DOCUMENTATION_MB = 3.0


@app.command
def train(
    *,
    task: TaskName,
    language: str,
    data: Data = (),
    positive: Positive = (),
    negative: Negative = (),
    documentation: Packages = (),
    measure_on: MeasureOn = (),
    false_alarms: FalseAlarms = (),
    word_list: Words = None,
    licenses: Licenses = (),
    out: Annotated[Path | None, Parameter(help="The model; default: TASK.LANGUAGE.ftz here.")] = None,
    card: CardFile = None,
    compress: Annotated[
        bool, Parameter(negative="", help="Under 2 MB instead of 13; moves the scores a little.")
    ] = False,
    seed: int = 0,
    threshold: float = 0.5,
    as_json: Json = False,
) -> int:
    """Train on four fifths of the texts, measure on the rest. The same texts and seed give the same file."""
    from gristmill.filters.classifier import TASKS
    from gristmill.filters.classifier_card import Card
    from gristmill.filters.classifier_training import train_classifier
    from gristmill.filters.labelled_text import split_held_out

    kind, said = TASKS[task], _licenses(licenses)
    rows = _rows(kind, data, positive, negative, documentation, seed)
    training, held_out = split_held_out(rows)
    out = out or Path(f"{task}.{language}.ftz")
    print(f"training on {len(training):,} texts", file=sys.stderr, flush=True)
    train_classifier(training, out, kind, seed=seed, compress=compress)
    others = _measured_only(kind, language, measure_on, false_alarms)
    made = Card(
        **_scores(kind, out, held_out, others, word_list, threshold),
        language=language,
        trained_on=training,
        files=(*data, *positive, *negative),
        licenses=said,
        seed=seed,
    )
    print(f"signals.classifiers.{task}.{language}={out} uses it", file=sys.stderr)
    return _show(made, card, as_json)


@app.command
def evaluate(
    *,
    task: TaskName,
    language: str,
    model: Annotated[Path | None, Parameter(help="None: only the word list is measured.")] = None,
    data: Data = (),
    positive: Positive = (),
    negative: Negative = (),
    documentation: Packages = (),
    measure_on: MeasureOn = (),
    false_alarms: FalseAlarms = (),
    word_list: Words = None,
    translated_from: Annotated[
        str | None, Parameter(help="For the card: the language in which labels were given.")
    ] = None,
    card: CardFile = None,
    seed: int = 0,
    threshold: float = 0.5,
    as_json: Json = False,
) -> int:
    """Measure a model, or a word list alone, on what `train` with the same files leaves out, and on other texts."""
    from gristmill.filters.classifier import TASKS
    from gristmill.filters.classifier_card import Card
    from gristmill.filters.labelled_text import split_held_out

    if model is None and word_list is None:
        print("gristmill classifier evaluate: name a --model or a --word-list to measure", file=sys.stderr)
        return 2
    kind = TASKS[task]
    held_out = split_held_out(_rows(kind, data, positive, negative, documentation, seed))[1]
    others = _measured_only(kind, language, measure_on, false_alarms)
    facts = _scores(kind, model, held_out, others, word_list, threshold)
    made = Card(**facts, language=language, translated_from=translated_from, seed=seed)
    return _show(made, card, as_json)


def _rows(
    task: "Task",
    data: tuple[Path, ...],
    positive: tuple[Path, ...],
    negative: tuple[Path, ...],
    packages: tuple[str, ...],
    seed: int,
) -> "list[LabelledText]":
    from gristmill.filters import labelled_text

    skipped: Counter[str] = Counter()
    rows = list(labelled_text.read_labelled(data, task, skipped))
    for reason, count in skipped.items():
        print(f"skipped {count} rows of {reason}", file=sys.stderr)
    for files, label in ((positive, task.positive), (negative, task.negative)):
        if files and not label:
            raise ValueError(f"{task.name} has no positive and negative texts; name labelled files in --data")
        rows += chain.from_iterable(labelled_text.read_unlabelled(path, label) for path in files)
    if packages:
        rows += labelled_text.documentation(packages, max_mb=DOCUMENTATION_MB, seed=seed)
    return rows


def _measured_only(
    task: "Task", language: str, measure_on: tuple[Path, ...], false_alarms: tuple[Path, ...]
) -> "list[LabelledText]":
    from gristmill.filters.classifier_evaluation import group_sentences
    from gristmill.filters.labelled_text import read_labelled, read_unlabelled

    others = chain.from_iterable(read_unlabelled(path, task.negative) for path in false_alarms)
    naming_groups = group_sentences(language) if task.name == "toxicity" else ()
    return [*read_labelled(measure_on, task), *others, *naming_groups]


def _scores(
    task: "Task",
    model: Path | None,
    rows: "list[LabelledText]",
    others: "list[LabelledText]",
    word_list: Path | None,
    threshold: float,
) -> dict[str, Any]:
    """What a card says of a model, a word list, or both."""
    from gristmill.filters.classifier import Classifier, check_model
    from gristmill.filters.classifier_evaluation import evaluate_scores, evaluate_topics
    from gristmill.filters.word_list import WordList

    facts: dict[str, Any] = {"task": task, "model": model, "threshold": threshold, "scores": {}}
    if model is not None:
        check_model(model, task)
        classifier = Classifier.load(model, task)
        facts["scores"] = (
            evaluate_scores(classifier.score, rows, task, threshold=threshold, others=others)
            if task.positive
            else evaluate_topics(classifier.label, [*rows, *others])
        )
    if word_list is not None:
        found = evaluate_scores(WordList.load(word_list).score, rows, task, threshold=0.5, others=others)
        facts |= {"word_list": found, "word_list_name": f"{word_list.parent.name}/{word_list.name}"}
    return facts


def _licenses(given: tuple[str, ...]) -> dict[str, str]:
    for one in given:
        if "=" not in one:
            raise ValueError(f"--licenses {one!r}: expected SOURCE=LICENCE, such as germeval_de=CC-BY-4.0")
    return dict(one.split("=", 1) for one in given)


def _show(card: "Card", file: Path | None, as_json: bool) -> int:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(card.markdown(), encoding="utf-8")
        print(f"the card is in {file}", file=sys.stderr)
    if as_json:
        print(json.dumps(card.as_json(), indent=2))
        return 0
    print(card.tables())
    return 0
