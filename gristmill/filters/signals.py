"""Signals: every score of a document is measured once and travels on as columns; nothing is dropped here.

A threshold can then be changed, or chosen from the distribution, without reading a text again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.filters.config import SignalsConfig
from gristmill.filters.heuristics import measure
from gristmill.filters.repetition import DUP_NGRAMS, TOP_NGRAMS
from gristmill.filters.toxicity import ToxicityClassifier
from gristmill.report import Report
from gristmill.shards import map_shards
from gristmill.text.documents import document_schema, join_verdicts, kept, read_shard, shard_paths, write_judged

COUNTS = ("words", "stop_words", "sentences", "lorem_ipsum_lines", "javascript_lines", "curly_bracket_lines")
RATIOS = (
    *("dup_paragraph_ratio", "dup_paragraph_char_ratio", "dup_line_ratio", "dup_line_char_ratio"),
    *(f"top_{n}gram_char_ratio" for n in TOP_NGRAMS),
    *(f"dup_{n}gram_char_ratio" for n in DUP_NGRAMS),
    *("mean_word_chars", "hash_word_ratio", "ellipsis_word_ratio", "bullet_line_ratio", "ellipsis_line_ratio"),
    *("alpha_word_ratio", "line_punct_ratio", "short_line_ratio", "dup_filled_line_char_ratio", "newline_word_ratio"),
    "toxicity",
)
SIGNAL_FIELDS = [*((name, pa.int32()) for name in COUNTS), *((name, pa.float32()) for name in RATIOS)]
"""Columns that this stage adds. A null means: not measurable in this document's language."""


def run_signals(documents: Path, out: Path, config: SignalsConfig, *, workers: int = 1) -> Report:
    """Add the signals to each document of an artifact, shard by shard.

    Raises ValueError when there are no documents to measure, or a toxicity model cannot be loaded.
    """
    schema = document_schema(documents)
    for name, kind in SIGNAL_FIELDS:
        schema = schema.append(pa.field(name, kind))
    shards = [(path.stem, _Shard(path, out / path.name, schema, config)) for path in shard_paths(documents)]
    summaries = map_shards(_measure_shard, shards, out, workers=workers, label="signals")
    join_verdicts([out / path.name for path in shard_paths(documents)], out, schema=schema)
    rows = sum(summary["rows"] for summary in summaries)
    return Report(
        rows_in=rows,
        rows_out=rows,
        metrics={"words": float(sum(summary["words"] for summary in summaries))},
        details=_not_measured(summaries),
    )


@dataclass(frozen=True)
class _Shard:
    documents: Path
    out: Path
    schema: pa.Schema
    config: SignalsConfig


def _measure_shard(shard: _Shard) -> dict[str, Any]:
    summary = {"rows": 0, "words": 0, "no_toxicity_model": Counter(), "no_stop_words": Counter()}
    classifiers = {language: ToxicityClassifier.load(path) for language, path in shard.config.toxicity_models.items()}
    measured = ((kept(document, stage="signals"), document) for document in _measured(shard, classifiers, summary))
    write_judged(shard.out, measured, schema=shard.schema)
    return summary


def _measured(
    shard: _Shard, classifiers: dict[str, ToxicityClassifier], summary: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    stop_words = {language: frozenset(words) for language, words in shard.config.stop_words.items()}
    for document in read_shard(shard.documents):
        text, language = document["text"], document["language"] or "und"
        signals = measure(text, stop_words.get(language))
        classifier = classifiers.get(language)
        signals["toxicity"] = None if classifier is None else classifier.score(text)
        summary["rows"] += 1
        summary["words"] += signals["words"]
        summary["no_toxicity_model"][language] += classifier is None
        summary["no_stop_words"][language] += language not in stop_words
        yield document | signals


def _not_measured(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Documents by language for which a signal is null, and what to do about it."""
    advice = {
        "no_toxicity_model": "make a model from labelled text with `gristmill toxicity train --language {0}`, then set "
        "signals.toxicity.{0} to its path",
        "no_stop_words": "list some in signals.stop_words.{0}",
    }
    details = {}
    for signal, remedy in advice.items():
        documents = Counter()
        for summary in summaries:
            documents.update(summary[signal])
        details[signal] = {
            language: {"documents": count, "remedy": remedy.format(language)}
            for language, count in sorted(documents.items())
            if count
        }
    return {signal: languages for signal, languages in details.items() if languages}
