"""The `mix` stage: how often each page is seen, by shares of sources and languages and rates of quality and clusters.

Each page that goes on stays one row with a column `epochs`; `tokenize` places its tokens so many times in the training
rows. Shards are measured in parallel, the decision is made on arrays of numbers (gristmill.tokens.mixture), then
shards are written. Left out: mixtures tuned by proxy models, and the split, which comes later: a page that is to
validate counts here like one that trains.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.filters.opt_out import OptOut, OptOutConfig
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import (
    document_schema,
    join_verdicts,
    kept,
    read_shard,
    shard_paths,
    verdict,
    write_judged,
)
from gristmill.tokens.measured_pages import MeasuredPages, measure_shard
from gristmill.tokens.mix_config import MixConfig
from gristmill.tokens.mix_report import SIZES, manifest_rows, mixture_details
from gristmill.tokens.mixture import (
    Floats,
    Pages,
    Queue,
    epochs,
    first_places,
    line_up,
    places_due,
    places_in_proportion,
    places_within,
)

OPT_OUT = "mix.opt_out"
MANIFEST = "manifest.jsonl"


def run_mix(documents: Path, out: Path, config: MixConfig, *, workers: Workers = 1) -> Report:
    """Write the documents that are seen, with columns `epochs` (int32) and, where there are buckets, `bucket` (int32,
    from 0), and a verdict with the rule `mix` for each of the others.

    The verdict's value is the page's place in the queue of gristmill.tokens.mixture, its threshold the places in the
    mixture. `manifest.jsonl` says what each source, language and bucket had, gives, and gives as often as it is seen.
    Documents on an opt-out list are dropped first, as if they had never been there. Raises ValueError when a column is
    missing, a source or language has no weight while others have one, or the length lets no document through.
    """
    paths = shard_paths(documents)
    schema = document_schema(documents)
    _require_columns(schema, config, documents)
    # lists are fetched once, so that no worker asks a server
    lists = config.opt_out.fetched(setting=OPT_OUT)
    measured = _measured(paths, out, config, lists, workers)
    pages, weights = _pages(measured, config)
    queue = line_up(pages, **weights, max_epochs=config.max_epochs)
    end, ended = _length(queue, pages, measured, config)
    seen, places = epochs(queue, end, len(pages.place)), first_places(queue, len(pages.place))
    if len(pages.place) and end == 0:
        listed = int(measured.refused.sum())
        raise ValueError(
            f"mix: {ended} let none of {len(pages.place)} documents through ({listed} are on opt-out lists); raise it"
        )

    schema = schema.append(pa.field("epochs", pa.int32()))
    if config.buckets:
        schema = schema.append(pa.field("bucket", pa.int32()))
    decided = measured.by_shard(seen, places, measured.bucket)
    shards = [
        (f"write-{path.stem}", _Shard(path, out, schema, config, lists, end, *arrays))
        for path, arrays in zip(paths, decided, strict=True)
    ]
    written = map_shards(_write_shard, shards, out, workers=workers, label="mix: documents")
    join_verdicts([out / path.name for path in paths], out, schema=schema)
    dropped = sum((Counter(shard["dropped"]) for shard in written), Counter())
    manifest = manifest_rows(measured, seen)
    (out / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in manifest), encoding="utf-8")
    return Report(
        rows_in=sum(shard["rows_in"] for shard in written),
        rows_out=sum(shard["rows_out"] for shard in written),
        dropped=dict(sorted(dropped.items())),
        metrics={"documents_seen": float(end)}
        | {f"{name}_seen": float(sum(row[f"{name}_seen"] for row in manifest)) for name in SIZES},
        details={"ended": ended} | mixture_details(measured, seen, config),
    )


def _require_columns(schema: pa.Schema, config: MixConfig, documents: Path) -> None:
    needed = [("mix.buckets.signal", config.buckets.signal)] if config.buckets else []
    needed += [("mix.rehydrate", "cluster_size")] if config.rehydrate else []
    for setting, column in needed:
        if column not in schema.names:
            numbers = [
                each.name for each in schema if pa.types.is_integer(each.type) or pa.types.is_floating(each.type)
            ]
            raise ValueError(
                f"{setting}: the documents in {documents.name} have no column {column}; numbers there are: "
                f"{', '.join(numbers)}"
            )


def _measured(paths: list[Path], out: Path, config: MixConfig, lists: OptOutConfig, workers: Workers) -> MeasuredPages:
    # beside the commits of the measurements: one is never there without the other
    work = out / ".done" / "measured"
    work.mkdir(parents=True, exist_ok=True)
    measure = partial(measure_shard, work=work, config=config, lists=lists)
    map_shards(
        measure, [(f"measure-{path.stem}", path) for path in paths], out, workers=workers, label="mix: measurements"
    )
    return MeasuredPages.read([work / path.name for path in paths], config)


def _pages(measured: MeasuredPages, config: MixConfig) -> tuple[Pages, dict[str, Floats | None]]:
    """What the queue is made of. Raises ValueError for a source or language without a weight."""
    weights: dict[str, Floats | None] = {}
    for setting, stated, names in (
        ("source_weights", config.source_weights, measured.sources),
        ("language_weights", config.language_weights, measured.languages),
    ):
        missing = [name for name in names if name not in stated]
        if stated and missing:
            raise ValueError(
                f"mix.{setting} has no weight for {', '.join(missing)}; give it one (0 leaves its pages out), or give "
                "none at all"
            )
        weights[setting] = np.array([stated[name] for name in names], float) if stated else None
        if stated and names and not any(stated[name] for name in names):
            raise ValueError(f"mix.{setting} shuts out all there are ({', '.join(names)}); give one a weight above 0")
    pages = Pages(
        place=measured.place,
        rate=measured.rate,
        source=measured.source,
        language=measured.language,
        tokens=measured.tokens,
        chars=measured.chars,
    )
    return pages, weights


def _length(queue: Queue, pages: Pages, measured: MeasuredPages, config: MixConfig) -> tuple[int, str]:
    """How many places of the queue the mixture has, and what ends it."""
    lengths = [
        (f"mix.{name}={most}", places_within(queue, sizes, most))
        for name, most, sizes in (
            ("max_tokens", config.max_tokens, pages.tokens),
            ("max_chars", config.max_chars, pages.chars),
            ("max_documents", config.max_documents, None),
        )
        if most is not None
    ]
    if lengths:
        ended, end = min(lengths, key=lambda length: length[1])
        if 0 < end == len(queue.page):
            ended = f"every page has been seen mix.max_epochs={config.max_epochs:g} times"
        return end, ended
    end, ended = places_due(queue), "every page has been seen at its rate"
    for stated, group, names in (
        (config.source_weights, pages.source, measured.sources),
        (config.language_weights, pages.language, measured.languages),
    ):
        if stated and len(queue.page):
            held, first = places_in_proportion(queue, group)
            if held < end:
                end = held
                ended = f"all of {names[first]} has been seen mix.max_epochs={config.max_epochs:g} times"
            break
    return end, ended


@dataclass(frozen=True)
class _Shard:
    documents: Path
    out: Path
    schema: pa.Schema
    config: MixConfig
    lists: OptOutConfig
    end: int
    """Places in the mixture."""
    epochs: np.ndarray
    places: np.ndarray
    buckets: np.ndarray
    """One entry a row: how often it is seen, its first place in the queue or -1, its bucket or -1."""


def _write_shard(shard: _Shard) -> dict[str, Any]:
    opt_out = OptOut.read(shard.lists, setting=OPT_OUT)
    decisions = zip(shard.epochs.tolist(), shard.places.tolist(), shard.buckets.tolist(), strict=True)

    def judged() -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        for document, (seen, place, bucket) in zip(read_shard(shard.documents), decisions, strict=True):
            document["epochs"] = seen
            if shard.config.buckets:
                document["bucket"] = bucket if bucket >= 0 else None
            if refused := opt_out.refuse(document):
                rule, value, threshold = refused
                yield verdict(document, stage="mix", rule=rule, value=value, threshold=threshold), None
            elif seen:
                yield kept(document, stage="mix"), document
            else:
                value = f"place {place + 1}" if place >= 0 else _why_never(document, shard.config)
                threshold = f"the first {shard.end} places"
                yield verdict(document, stage="mix", rule="mix", value=value, threshold=threshold), None

    return write_judged(shard.out / shard.documents.name, judged(), schema=shard.schema)


def _why_never(document: dict[str, Any], config: MixConfig) -> str:
    """What keeps a page out of a queue of any length."""
    if config.source_weights and not config.source_weights[document["source"]]:
        return f"weight 0 of {document['source']}"
    language = document["language"] or "und"
    if config.language_weights and not config.language_weights[language]:
        return f"weight 0 of {language}"
    return "rate 0" if config.max_epochs >= 1 else f"not among {config.max_epochs:g} epochs"
