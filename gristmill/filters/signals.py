"""Signals: every score of a document is measured once and travels on as columns; nothing is dropped here.

A threshold can then be changed, or chosen from the distribution, without reading a text again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.filters.classifier import TASKS
from gristmill.filters.config import SignalsConfig
from gristmill.filters.heuristics import Vocabulary, measure
from gristmill.filters.language_data import PAGES_WITHOUT_CONTENT
from gristmill.filters.model_signals import MODEL_FIELDS, ModelFiles, ModelSignals, prepare_models
from gristmill.filters.repetition import DUP_NGRAMS, TOP_NGRAMS
from gristmill.report import Report
from gristmill.shard_cache import ShardCache, recorded_sha256
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    judged_files,
    kept,
    read_shard,
    shard_paths,
    write_judged,
)

COUNTS = (
    *("words", "stop_words", "sentences", "lorem_ipsum_lines", "javascript_lines", "curly_bracket_lines"),
    "longest_line_chars",
)
RATIOS = (
    *("dup_paragraph_ratio", "dup_paragraph_char_ratio", "dup_line_ratio", "dup_line_char_ratio"),
    *(f"top_{n}gram_char_ratio" for n in TOP_NGRAMS),
    *(f"dup_{n}gram_char_ratio" for n in DUP_NGRAMS),
    *("mean_word_chars", "hash_word_ratio", "ellipsis_word_ratio", "bullet_line_ratio", "ellipsis_line_ratio"),
    *("alpha_word_ratio", "line_punct_ratio", "short_line_ratio", "dup_filled_line_char_ratio", "newline_word_ratio"),
    *("mean_line_chars", "alnum_ratio"),
    *(f"{kind}_char_ratio" for kind in PAGES_WITHOUT_CONTENT),
)
SIGNAL_FIELDS = [
    *((name, pa.int32()) for name in COUNTS),
    *((name, pa.float32()) for name in RATIOS),
    *MODEL_FIELDS,
]
"""Columns that this stage adds. A null means: not measurable in this document's language."""


def run_signals(
    documents: Path, out: Path, config: SignalsConfig, *, workers: Workers = 1, cache: ShardCache | None = None
) -> Report:
    """Add the signals to each document of an artifact, shard by shard.

    Raises ValueError when there are no documents to measure, or a model or word list cannot be read.
    """
    schema = document_schema(documents)
    for name, kind in SIGNAL_FIELDS:
        schema = schema.append(pa.field(name, kind))
    models, trained = prepare_models(config.classifiers, config.bad_words, documents, out)
    # a model that is trained here has seen the whole crawl, and with it every shard's result has
    measure_shard = cache.reusing(_measure_shard) if cache and not trained else _measure_shard
    recorded = recorded_sha256(documents) if cache else {}
    shards = [
        (path.stem, _Shard(path, recorded.get(path.name, ""), out / path.name, schema, config, models))
        for path in shard_paths(documents)
    ]
    summaries = map_shards(measure_shard, shards, out, workers=workers, label="signals")
    join_verdicts([out / path.name for path in shard_paths(documents)], out, schema=schema)
    rows = sum(summary["rows"] for summary in summaries)
    return Report(
        rows_in=rows,
        rows_out=rows,
        metrics={"words": float(sum(summary["words"] for summary in summaries))},
        details=_not_measured(summaries) | ({"trained_models": trained} if trained else {}),
    )


@dataclass(frozen=True)
class _Shard:
    documents: Path
    sha256: str  # of the documents, as recorded
    out: Path
    schema: pa.Schema
    config: SignalsConfig
    models: ModelFiles

    @property
    def input(self) -> tuple[Path, str]:
        return self.documents, self.sha256

    @property
    def facts(self) -> dict[str, Any]:
        return {"schema": self.schema.to_string()}

    @property
    def files(self) -> list[Path]:
        return judged_files(self.out)


def _measure_shard(shard: _Shard) -> dict[str, Any]:
    summary = {"rows": 0, "words": 0, "no_stop_words": Counter()}
    models = ModelSignals(shard.models)
    measured = ((kept(document, stage="signals"), document) for document in _measured(shard, models, summary))
    write_judged(shard.out, measured, schema=shard.schema)
    return summary | {f"no_{task}_model": documents for task, documents in models.missing.items()}


def _measured(shard: _Shard, models: ModelSignals, summary: dict[str, Any]) -> Iterator[dict[str, Any]]:
    known = vocabularies(shard.config)
    unknown = Vocabulary(phrases=known["en"].phrases)
    for document in read_shard(shard.documents):
        text, language = document["text"], document["language"] or "und"
        vocabulary = known.get(language, unknown)
        signals = measure(text, vocabulary) | models.measure(text, language)
        summary["rows"] += 1
        summary["words"] += signals["words"]
        summary["no_stop_words"][language] += vocabulary.stop_words is None and language != "code"
        yield document | signals


def vocabularies(config: SignalsConfig) -> dict[str, Vocabulary]:
    """Language → what measuring its texts needs; a language that is not in it has the phrases of `en`, and no more."""
    return {
        code: Vocabulary(
            stop_words=None if facts["stop_words"] is None else frozenset(facts["stop_words"]),
            sentence_ends=facts["sentence_ends"] or Vocabulary.sentence_ends,
            abbreviations=frozenset(facts["abbreviations"]),
            phrases={kind: tuple(phrases) for kind, phrases in facts["phrases"].items()},
        )
        for code, facts in config.languages().items()
    }


def _not_measured(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Documents by language for which a signal is null, and what to do about it."""
    advice = {
        **{
            f"no_{task}_model": f"make a model from labelled text with `gristmill classifier train --task {task} "
            f"--language {{0}}`, then set signals.classifiers.{task}.{{0}} to its path"
            for task in TASKS
        },
        "no_stop_words": "list some in signals.stop_words.{0}; `gristmill profile TEXTS --language {0}` finds them",
    }
    details = {}
    for signal, remedy in advice.items():
        documents = Counter()
        for summary in summaries:
            documents.update(summary.get(signal, {}))
        details[signal] = {
            language: {"documents": count, "remedy": remedy.format(language)}
            for language, count in sorted(documents.items())
            if count
        }
    return {signal: languages for signal, languages in details.items() if languages}
