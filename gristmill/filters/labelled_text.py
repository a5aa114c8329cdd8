"""Texts labelled toxic or harmless, from JSONL files of many shapes; and documentation of packages as harmless text.

A row is an object with `text` and either `label` or `spans`. A label is true or false, or a word of TOXIC or HARMLESS.
`spans` are the positions of toxic characters, as in the data of SemEval-2021 task 5 (Pavlopoulos et al. 2021): such
comments were all collected as toxic, so one without a position says nothing, and is skipped and counted.
"""

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.filters.toxicity import normalized_words
from gristmill.jsonl import read_jsonl

TOXIC = {"toxic", "hate", "hateful", "offensive", "offense", "insult", "threat", "obscene", "abusive"}
HARMLESS = {"harmless", "neither", "neutral", "none", "normal", "other", "non-toxic", "non-hateful"}
HELD_OUT = 0.2


@dataclass(frozen=True)
class LabelledText:
    """One text. rest: what is left of it without its marked toxic passages, where they are known: harmless."""

    text: str
    toxic: bool
    source: str
    rest: str = ""

    @property
    def held_out(self) -> bool:
        """Whether this text only evaluates; equal words fall on the same side, whatever file they are in."""
        digest = hashlib.sha256(" ".join(normalized_words(self.text)).encode()).digest()
        return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def read_labelled(paths: Sequence[Path], skipped: Counter[str] | None = None) -> Iterator[LabelledText]:
    """The rows of JSONL files, plain or gzipped; a source is named by its file.

    skipped: counts, by reason, rows that were left out. Raises ValueError naming file and line.
    """
    for path in paths:
        for place, found in read_jsonl(path):
            row = _labelled(place, found)
            if row is not None:
                yield row
            elif skipped is not None:
                skipped[f"{path.name}: spans without a position"] += 1


def documentation(packages: Sequence[str], *, max_mb: float, seed: int) -> Iterator[LabelledText]:
    """Docstrings of installed packages, a text a module: they kill processes and abort transactions harmlessly."""
    from gristmill.crawl.docstrings import iter_modules
    from gristmill.crawl.python_docs_config import PythonDocsSource

    for module in iter_modules(PythonDocsSource(packages=list(packages), max_mb=max_mb, seed=seed)):
        text = "\n\n".join([module.docstring, *(entry.docstring for entry in module.entries)])
        yield LabelledText(text, toxic=False, source="documentation")


def read_harmless(path: Path) -> Iterator[LabelledText]:
    """Texts nobody labelled, taken as harmless: a text a row of JSONL, or a line of 20 words or more of a text file."""
    texts = _long_lines(path) if ".txt" in path.suffixes else (_text(place, row) for place, row in read_jsonl(path))
    for text in texts:
        yield LabelledText(text, toxic=False, source=path.name.split(".")[0])


def _long_lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from (line for line in file if len(line.split()) >= 20)


def _text(place: str, row: dict[str, Any]) -> str:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: found no text; expected an object whose key text is a string that is not blank")
    return text


def _labelled(place: str, row: dict[str, Any]) -> LabelledText | None:
    """None where the row says neither toxic nor harmless."""
    text, source = _text(place, row), place.split(".")[0]
    if "label" in row:
        return LabelledText(text, _is_toxic(place, row["label"]), source)
    spans = row.get("spans")
    if not isinstance(spans, list) or not all(isinstance(position, int) for position in spans):
        raise ValueError(
            f"{place}: found neither label nor spans; expected a label, or a list of positions of toxic characters"
        )
    if not spans:
        return None
    marked = set(spans)
    rest = "".join(character for position, character in enumerate(text) if position not in marked)
    return LabelledText(text, True, source, rest)


def _is_toxic(place: str, label: object) -> bool:
    if isinstance(label, int) and label in (0, 1):
        return bool(label)
    word = str(label).casefold()
    if word in TOXIC | HARMLESS:
        return word in TOXIC
    raise ValueError(
        f"{place}: label {label!r} is unknown; expected true or false, 1 or 0, for toxic one of "
        f"{', '.join(sorted(TOXIC))}, for harmless one of {', '.join(sorted(HARMLESS))}"
    )
