"""`gristmill toxicity`: make a toxicity classifier for a language from labelled text, and measure one."""

import json
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from gristmill.filters.labelled_text import LabelledText

app = App(name="toxicity", help="Train and measure toxicity classifiers.")

Data = Annotated[
    tuple[Path, ...],
    Parameter(consume_multiple=True, negative="", help="JSONL files (.gz too) with text, and label or spans."),
]
Harmless = Annotated[
    tuple[Path, ...],
    Parameter(
        consume_multiple=True, negative="", help="JSONL or text files to count false alarms on, never to train on."
    ),
]
Packages = Annotated[
    tuple[str, ...],
    Parameter(consume_multiple=True, negative="", help="Installed packages whose documentation counts as harmless."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]

DOCUMENTATION_MB = 3.0


@app.command
def train(
    *,
    data: Data,
    language: str,
    out: Annotated[Path | None, Parameter(help="The model; default: toxicity.LANGUAGE.ftz here.")] = None,
    documentation: Packages = (),
    harmless: Harmless = (),
    seed: int = 0,
    threshold: float = 0.5,
    as_json: Json = False,
) -> int:
    """Train on four fifths of the data, measure on the rest. The same data and seed give the same file."""
    from gristmill.filters.toxicity_training import train_classifier

    rows = _rows(data, documentation, seed)
    out = out or Path(f"toxicity.{language}.ftz")
    print(f"training on {sum(not row.held_out for row in rows)} texts", file=sys.stderr, flush=True)
    train_classifier([row for row in rows if not row.held_out], out, seed=seed)
    status = _measure(out, [row for row in rows if row.held_out], harmless, threshold, as_json)
    print(f"signals.toxicity.{language}={out} uses it", file=sys.stderr)
    return status


@app.command
def evaluate(
    *,
    model: Path,
    data: Data = (),
    documentation: Packages = (),
    harmless: Harmless = (),
    all_rows: Annotated[bool, Parameter(negative="", help="Also rows that `train` would have trained on.")] = False,
    seed: int = 0,
    threshold: float = 0.5,
    as_json: Json = False,
) -> int:
    """Measure a model on the fifth of the data that `train` leaves out, and on harmless texts."""
    rows = [row for row in _rows(data, documentation, seed) if all_rows or row.held_out]
    return _measure(model, rows, harmless, threshold, as_json)


def _rows(data: tuple[Path, ...], packages: tuple[str, ...], seed: int) -> "list[LabelledText]":
    from gristmill.filters import labelled_text

    skipped: Counter[str] = Counter()
    rows = list(labelled_text.read_labelled(data, skipped))
    for reason, count in skipped.items():
        print(f"skipped {count} rows of {reason}", file=sys.stderr)
    if packages:
        rows += labelled_text.documentation(packages, max_mb=DOCUMENTATION_MB, seed=seed)
    return rows


def _measure(
    model: Path, rows: "list[LabelledText]", harmless: tuple[Path, ...], threshold: float, as_json: bool
) -> int:
    import hashlib

    from gristmill.filters.labelled_text import read_harmless
    from gristmill.filters.toxicity import ToxicityClassifier
    from gristmill.filters.toxicity_evaluation import evaluate_classifier

    texts = chain(rows, chain.from_iterable(map(read_harmless, harmless)))
    scores = evaluate_classifier(ToxicityClassifier.load(model), texts, threshold=threshold)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    if as_json:
        report = {"schema_version": 1, "sha256": digest, "threshold": threshold, "sources": scores}
        print(json.dumps(report, indent=2))
        return 0
    columns = ("texts", "toxic", "precision", "recall", "f1", "roc_auc", "false_positive_rate")
    print(f"{model.name}: {model.stat().st_size:,} bytes, sha256 {digest}; toxic above {threshold}")
    print("| source | " + " | ".join(column.replace("_", " ") for column in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for source, values in scores.items():
        print(f"| {source} | " + " | ".join(_cell(values[column]) for column in columns) + " |")
    return 0


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
