"""Scores of a text by fastText classifiers (Joulin et al. 2017, arXiv:1607.01759): four tasks, one model a language.

`quality` follows DCLM (Li et al. 2024, arXiv:2406.11794): whole documents, reference texts against the crawl, and its
two labels, so that a model published by DCLM can be used as it is. `toxicity` and `literacy` learn from comments and
sentences, so a page is scored in passages of that length and its score is their mean: near the share of toxic or of
well-written passages. A maximum would grow with a page's length, and one quoted insult would drop a book.

A long page is judged by stretches of it, evenly spaced: what a score costs does not grow with the page.
"""

import html
import json
import math
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

PREFIX = "__label__"
STRETCHES = 4
PROBE_S = 120

_NO_WORDS = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|\brt\b")
_WORD = re.compile(r"[^\W\d_]+(?:['’*]+[^\W\d_]*)*")


@dataclass(frozen=True)
class Task:
    """What a classifier tells apart.

    positive, negative: the two labels; both empty where the labelled data name the labels (topic). The score is the
    probability of `positive`. folded: words alone, in small letters; else what stands between blanks, as it stands.
    passage_words: words of a passage at most; None: the text is one passage.
    """

    name: str
    positive: str
    negative: str
    folded: bool
    passage_words: int | None

    def words(self, text: str) -> list[str]:
        return normalized_words(text) if self.folded else plain_tokens(text)

    def passages(self, text: str) -> list[str]:
        """The words of a text in passages of nearly equal length."""
        words = self.words(text)
        count = 1 if self.passage_words is None else math.ceil(len(words) / self.passage_words)
        bounds = [len(words) * number // count for number in range(count + 1)] if words else []
        return [" ".join(words[start:end]) for start, end in pairwise(bounds)]


TASKS = {
    task.name: task
    for task in (
        Task("toxicity", "toxic", "harmless", folded=True, passage_words=50),
        Task("quality", "hq", "cc", folded=False, passage_words=None),
        Task("literacy", "corrected", "uncorrected", folded=False, passage_words=30),
        Task("topic", "", "", folded=True, passage_words=None),
    )
}


class Classifier:
    """A loaded model. Not picklable: every worker loads its own, in some milliseconds."""

    def __init__(self, model: Any, task: Task, *, max_chars: int = 3000) -> None:
        self._model, self._task, self._max_chars = model, task, max_chars

    @classmethod
    def load(cls, path: Path, task: Task, *, max_chars: int = 3000) -> Self:
        """max_chars: what is read of a text at most. Raises ValueError when the file is no model of this task."""
        import fasttext

        try:
            model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ValueError(_no_model(path, task, str(error))) from error
        _require_labels(path, task, [str(label) for label in model.get_labels()])
        return cls(model, task, max_chars=max_chars)

    def score(self, text: str) -> float:
        """Mean probability of the positive label, 0 to 1, over the passages; 0 for a text without words."""
        positive = PREFIX + self._task.positive
        answers = [answer for answer in map(self._predicted, self._passages(text)) if answer]
        scores = [p if label == positive else 1.0 - p for label, p in answers]
        return statistics.fmean(scores) if scores else 0.0

    def label(self, text: str) -> tuple[str | None, float]:
        """The most probable label and its probability, 0 to 1; (None, 0.0) for a text without words."""
        answer = next((answer for answer in map(self._predicted, self._passages(text)) if answer), None)
        return (answer[0].removeprefix(PREFIX), answer[1]) if answer else (None, 0.0)

    def _passages(self, text: str) -> list[str]:
        return self._task.passages(evenly_spaced(text, self._max_chars))

    def _predicted(self, passage: str) -> tuple[str, float] | None:
        # the binding below fasttext's own predict, which takes twice as long for a short text
        for p, label in self._model.f.predict(passage + "\n", 1, 0.0, "strict"):
            return label, min(1.0, float(p))
        return None  # no word of the passage is known to the model


def evenly_spaced(text: str, max_chars: int) -> str:
    """The text, or as many characters of it in stretches from its beginning to its end, each begun behind a blank."""
    if len(text) <= max_chars:
        return text
    length, gap = max_chars // STRETCHES, (len(text) - max_chars // STRETCHES) / (STRETCHES - 1)
    stretches = []
    for number in range(STRETCHES):
        start = round(number * gap)
        blank = text.find(" ", start, start + 50) if number else -1
        stretches.append(text[max(start, blank + 1) : start + length])
    return " ".join(stretches)


def normalized_words(text: str) -> list[str]:
    """Folded words without digits, addresses, mentions and hashtags; asterisks inside a word stay (`sh*t`)."""
    return _WORD.findall(_NO_WORDS.sub(" ", html.unescape(text).casefold()))


def plain_tokens(text: str) -> list[str]:
    """What stands between blanks, punctuation and capitals kept. No token can pass for a label or a line's end."""
    text = text.encode("utf-8", "ignore").decode()
    if PREFIX in text or "</s>" in text or "\0" in text:
        text = text.replace(PREFIX, " label ").replace("</s>", " ").replace("\0", " ")
    return text.split()


def check_model(path: Path, task: Task) -> None:
    """Load a model in a process of its own and let it answer once, before workers do.

    fastText believes what a file says of its sizes: a damaged one can end the process that reads it, or fill the
    memory, which is bounded there (on Linux).
    Raises ValueError when the file is damaged, or no model of this task.
    """
    command = [sys.executable, "-m", "gristmill.filters.classifier", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        raise ValueError(_no_model(path, task, f"it did not answer in {PROBE_S} s")) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        reason = lines[-1] if done.returncode > 0 else f"reading it ended the process by signal {-done.returncode}"
        raise ValueError(_no_model(path, task, reason))
    _require_labels(path, task, json.loads(done.stdout))


def _require_labels(path: Path, task: Task, labels: list[str]) -> None:
    expected = {PREFIX + task.positive, PREFIX + task.negative}
    if task.positive and set(labels) != expected:
        raise ValueError(
            f"{path} knows the labels {', '.join(labels[:5])} and not {' and '.join(sorted(expected))}; "
            f"make one with `gristmill classifier train --task {task.name}`"
        )


def _no_model(path: Path, task: Task, reason: str) -> str:
    return (
        f"{path} is no fastText model ({reason}); make one with `gristmill classifier train --task {task.name}` and "
        f"set signals.classifiers.{task.name} to it"
    )


def _probe(path: Path) -> None:
    import resource

    import fasttext

    statm = Path("/proc/self/statm")
    if statm.exists():
        # a damaged file can ask for any amount of memory; a whole one takes its size, and 120 MB for its dictionary
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        bytes_at_most = mapped + 2 * path.stat().st_size + (300 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (bytes_at_most, bytes_at_most))
    model = fasttext.load_model(str(path))
    for text in ("The mill stands by the river.", "млин стоїть біля річки", "x" * 1000):
        if not all(math.isfinite(p) for p, _ in model.f.predict(text + "\n", 1, 0.0, "strict")):
            raise ValueError("its weights are not finite")
    print(json.dumps([str(label) for label in model.get_labels()]))


if __name__ == "__main__":
    _probe(Path(sys.argv[1]))
