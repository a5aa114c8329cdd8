"""Labelled texts from JSONL files of many shapes, and texts that are all of one label.

A row is an object with `text` and either `label` or `spans`, for topics with `topic`; or a pair of `sentence_good` and
`sentence_bad`. A label is true or false, or a word of LABELS. `spans` are the positions of toxic characters, as in the
data of SemEval-2021 task 5 (Pavlopoulos et al. 2021): such comments were all collected as toxic, so one without a
position says nothing, and is skipped and counted.
"""

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.filters.classifier import TASKS, Task, normalized_words
from gristmill.jsonl import read_jsonl

LABELS = {
    "toxic": {"toxic", "hate", "hateful", "offensive", "offense", "insult", "threat", "obscene", "abusive"},
    "harmless": {"harmless", "neither", "neutral", "none", "normal", "other", "non-toxic", "non-hateful"},
    "hq": {"hq", "high", "good"},
    "cc": {"cc", "low", "bad"},
    "corrected": {"corrected", "good", "acceptable"},
    "uncorrected": {"uncorrected", "bad", "unacceptable"},
}
"""Words for a label, in small letters."""
HELD_OUT = 0.2


@dataclass(frozen=True)
class LabelledText:
    """One text.

    rest: what is left of it without its marked toxic passages, where they are known: harmless. pair: shared by the two
    sides of a pair. group: texts of one group are held out together, such as the sentences of a document.
    """

    text: str
    label: str
    source: str
    rest: str = ""
    pair: str = ""
    group: str = ""

    @property
    def held_out(self) -> bool:
        """Whether this text only evaluates; equal words or groups fall on the same side, whatever file they are in."""
        decisive = self.group or " ".join(normalized_words(self.text))
        return int.from_bytes(hashlib.sha256(decisive.encode()).digest()[:8], "big") < HELD_OUT * 2**64


def split_held_out(rows: Iterable[LabelledText]) -> tuple[list[LabelledText], list[LabelledText]]:
    """(texts to train on, texts to evaluate on); no text is trained on whose words equal a held-out one's."""
    training: list[LabelledText] = []
    held_out: list[LabelledText] = []
    for row in rows:
        (held_out if row.held_out else training).append(row)
    known = {(tuple(normalized_words(row.text)), row.label) for row in held_out if row.group}
    if known:
        training = [row for row in training if (tuple(normalized_words(row.text)), row.label) not in known]
    return training, held_out


def read_labelled(paths: Sequence[Path], task: Task, skipped: Counter[str] | None = None) -> Iterator[LabelledText]:
    """The rows of JSONL files, plain or gzipped; a source is named by its file.

    skipped: counts, by reason, rows that were left out. Raises ValueError naming file and line.
    """
    for number, path in enumerate(paths):
        # pairs are known by file name and line, so that a file means the same in any folder
        namesakes = sum(earlier.name == path.name for earlier in paths[:number])
        for place, found in read_jsonl(path):
            rows = _labelled(f"{place} ({namesakes + 1})" if namesakes else place, found, task)
            yield from rows
            if not rows and skipped is not None:
                skipped[f"{path.name}: spans without a position"] += 1


def read_unlabelled(path: Path, label: str) -> Iterator[LabelledText]:
    """Texts nobody labelled, taken as of this label: a text a row of JSONL, or a line of 20 words of a text file.

    A row's `id` is its group: sentences of held-out pairs with that `id` are not trained on inside their document.
    """
    source = path.name.split(".")[0]
    if ".txt" in path.suffixes:
        yield from (LabelledText(line, label, source) for line in _long_lines(path))
        return
    for place, row in read_jsonl(path):
        yield LabelledText(_text(place, row), label, source, group=str(row.get("id", "")))


def documentation(packages: Sequence[str], *, max_mb: float, seed: int) -> Iterator[LabelledText]:
    """Docstrings of installed packages, a text a module: they kill processes and abort transactions harmlessly."""
    from gristmill.crawl.docstrings import iter_modules
    from gristmill.crawl.python_docs_config import PythonDocsSource

    for module in iter_modules(PythonDocsSource(packages=list(packages), max_mb=max_mb, seed=seed)):
        text = "\n\n".join([module.docstring, *(entry.docstring for entry in module.entries)])
        yield LabelledText(text, TASKS["toxicity"].negative, source="documentation")


def _long_lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            yield from (line for line in file if len(line.split()) >= 20)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; correct the path") from None


def _text(place: str, row: dict[str, Any], key: str = "text") -> str:
    text = row.get(key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: found no {key}; expected an object whose key {key} is a string that is not blank")
    return text


def _labelled(place: str, row: dict[str, Any], task: Task) -> list[LabelledText]:
    """The texts of a row; none where it says nothing about the label."""
    source = place.split(".")[0]
    if "sentence_good" in row and task.positive:
        group = str(row.get("id", place))
        sides = {task.positive: "sentence_good", task.negative: "sentence_bad"}
        return [
            LabelledText(_text(place, row, key), label, source, pair=place, group=group) for label, key in sides.items()
        ]
    text = _text(place, row)
    pair = f"{source} {row['pair']}" if "pair" in row else ""
    if task.name == "topic":
        return [LabelledText(text, _topic(place, row), source)]
    if "label" in row:
        return [LabelledText(text, _label(place, row["label"], task), source, pair=pair, group=pair)]
    spans = row.get("spans")
    if task.name != "toxicity" or not isinstance(spans, list) or not all(isinstance(found, int) for found in spans):
        raise ValueError(f"{place}: found {', '.join(row)}; expected {_shapes(task)}")
    if not spans:
        return []
    marked = set(spans)
    rest = "".join(character for position, character in enumerate(text) if position not in marked)
    return [LabelledText(text, task.positive, source, rest)]


def _shapes(task: Task) -> str:
    shapes = "text and a label, or the two sides sentence_good and sentence_bad"
    return (
        f"{shapes}, or text and spans, a list of positions of toxic characters" if task.name == "toxicity" else shapes
    )


def _topic(place: str, row: dict[str, Any]) -> str:
    """fastText ends a label at a blank, so there is none in it."""
    found = row.get("topic", row.get("label"))
    topic = re.sub(r"\s+", "-", found.strip()) if isinstance(found, str) else ""
    if not topic:
        raise ValueError(f"{place}: topic {found!r}; expected a string such as law under the key topic")
    return topic


def _label(place: str, label: object, task: Task) -> str:
    if isinstance(label, int) and label in (0, 1):
        return task.positive if label else task.negative
    word = str(label).casefold()
    for name in (task.positive, task.negative):
        if word in LABELS[name]:
            return name
    raise ValueError(
        f"{place}: label {label!r} is unknown; expected true or false, 1 or 0, for {task.positive} one of "
        f"{', '.join(sorted(LABELS[task.positive]))}, for {task.negative} one of "
        f"{', '.join(sorted(LABELS[task.negative]))}"
    )
