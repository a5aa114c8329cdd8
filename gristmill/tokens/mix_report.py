"""What a mixture is made of: its manifest, and the shares that were asked for beside those that came out."""

from collections import Counter
from typing import Any

import numpy as np

from gristmill.tokens.contributions import contributions
from gristmill.tokens.measured_pages import MeasuredPages
from gristmill.tokens.mix_config import MixConfig

SIZES = ("chars", "bytes", "estimated_tokens")


def manifest_rows(measured: MeasuredPages, epochs: np.ndarray) -> list[dict[str, Any]]:
    """A row for each source, language and bucket. epochs: of each page."""
    return contributions(measured.table(epochs), by=("source", "language", "bucket"), sizes=SIZES)


def mixture_details(measured: MeasuredPages, epochs: np.ndarray, config: MixConfig) -> dict[str, Any]:
    """The same by sources, by languages and by buckets alone, with `share_asked` where shares were asked for."""
    table = measured.table(epochs)
    sources, languages = _shares_asked(measured, config)
    return {
        "sources": _beside(contributions(table, by=("source",), sizes=SIZES), "source", sources),
        "languages": _beside(contributions(table, by=("language",), sizes=SIZES), "language", languages),
        "buckets": contributions(table, by=("bucket",), sizes=SIZES) if config.buckets else [],
        "bucket_edges": measured.edges,
    }


def _shares_asked(measured: MeasuredPages, config: MixConfig) -> tuple[dict[str, float], dict[str, float]]:
    """Shares by source and by language, of those there are: what only `max_epochs` and the length can keep from coming
    out. Empty where there are no weights."""
    there = np.unique(np.stack([measured.source, measured.language])[:, measured.rate > 0], axis=1).T.tolist()
    named = [(measured.sources[source], measured.languages[language]) for source, language in there]
    source_weights, language_weights = config.source_weights, config.language_weights
    cells = [(s, code) for s, code in named if source_weights.get(s, 1) and language_weights.get(code, 1)]
    sources = _normalized({source: source_weights[source] for source, _ in cells}) if source_weights else {}
    languages: Counter[str] = Counter()
    if language_weights:
        for source, share in (sources or {None: 1.0}).items():
            mine = {code: language_weights[code] for name, code in cells if source in (name, None)}
            languages.update({code: share * within for code, within in _normalized(mine).items()})
    return sources, dict(languages)


def _normalized(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _beside(rows: list[dict[str, Any]], name: str, asked: dict[str, float]) -> list[dict[str, Any]]:
    return [row | ({"share_asked": round(asked.get(row[name], 0.0), 6)} if asked else {}) for row in rows]
