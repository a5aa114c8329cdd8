"""The `dedup` stage: of pages with one URL, one text, or nearly one text, the best stays.

All decisions are made on signatures (gristmill.dedup.duplicates); texts are read only to be written, and to cut lines
that stand on many pages where that is asked for. What is the best page, which pages are compared and what counts as
seen before are the configuration's to say. Memory and growth: docs/dedup.md.
Left out: duplicate passages that are no whole lines.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.dedup.config import DedupConfig
from gristmill.dedup.duplicates import NEAR, RULES, Duplicates, find_duplicates
from gristmill.dedup.repeated_lines import LineCutter, find_repeated_lines
from gristmill.dedup.signatures import Signatures
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
    write_shard,
)

SUPERSEDED = pa.schema([("doc_id", pa.string()), ("rule", pa.string()), ("kept", pa.string())])


def run_dedup(documents: Path, signatures: Path, out: Path, config: DedupConfig, *, workers: Workers = 1) -> Report:
    """Write the surviving documents with a column `cluster_size`, and a verdict for each document.

    signatures: made from these documents. `cluster_size` (int32) counts the pages a document stands for, itself
    included. Raises ValueError for signatures of other documents, or of other parameters than those of `against`.
    """
    schema = document_schema(documents)
    paths = shard_paths(documents)
    known = Signatures.open([*map(Path, config.against), signatures])
    _check_shards(paths, Signatures.open([signatures]))
    duplicates = find_duplicates(known, known.starts[-2], config, out, workers=workers)
    decisions = out / ".done" / "decisions"
    duplicates.save(decisions)
    lines = find_repeated_lines(paths, decisions, out, config, workers=workers)

    schema = schema.append(pa.field("cluster_size", pa.int32()))
    write = partial(_write_shard, out=out, writer=_Writer(schema, decisions, config, lines))
    named = [(f"write-{path.stem}", path) for path in paths]
    written = map_shards(write, named, out, workers=workers, label="dedup: documents")
    join_verdicts([out / path.name for path in paths], out, schema=schema)
    if config.earlier == "by_rule":
        write_shard(out / "superseded.parquet", duplicates.superseded(), schema=SUPERSEDED)
    return _report(duplicates, known, written)


def _check_shards(paths: list[Path], signatures: Signatures) -> None:
    signed = [(shard.stem.name, shard.documents) for shard in signatures.shards]
    if signed != [(path.stem, pq.read_metadata(path).num_rows) for path in paths]:
        raise ValueError(
            f"{signatures.shards[0].stem.parent if signed else 'the signatures'} was not made from {paths[0].parent}: "
            "shards or their numbers of documents differ; build the stage signatures on these documents"
        )


def _report(duplicates: Duplicates, known: Signatures, written: list[dict[str, Any]]) -> Report:
    rows_in = sum(shard["rows_in"] for shard in written)
    rows_out = sum(shard["rows_out"] for shard in written)
    dropped: Counter[str] = Counter()
    for shard in written:
        dropped.update(shard["dropped"])
    metrics = {"dropped_ratio": (rows_in - rows_out) / max(rows_in, 1)}
    if trimmed := sum(shard["trimmed"] for shard in written):
        metrics["trimmed"] = trimmed
    earlier = int((duplicates.stands_in()[duplicates.first_new :] < duplicates.first_new).sum())
    return Report(
        rows_in=rows_in,
        rows_out=rows_out,
        dropped=dict(dropped),
        metrics=metrics,
        details={
            **duplicates.details,
            "earlier_documents": duplicates.first_new,
            "dropped_for_earlier": earlier,
            "largest_cluster": int(duplicates.cluster_sizes().max(initial=0)),
            "chars_cut": sum(shard["chars_cut"] for shard in written),
        },
    )


@dataclass(frozen=True)
class _Writer:
    schema: pa.Schema
    decisions: Path
    config: DedupConfig
    lines: LineCutter | None


def _write_shard(path: Path, *, out: Path, writer: _Writer) -> dict[str, Any]:
    counts = {"trimmed": 0, "chars_cut": 0}

    def judged() -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        decisions = np.load(writer.decisions / f"{path.stem}.npy")
        for document, decision in zip(read_shard(path), decisions, strict=True):
            if decision["rule"]:
                yield _dropped(document, decision, writer.config), None
                continue
            document["cluster_size"] = int(decision["cluster_size"])
            cut = writer.lines.cut(document, int(decision["place"])) if writer.lines else None
            if cut is None:
                yield kept(document, stage="dedup"), document
                continue
            goes_on = bool(cut.text.strip())
            counts["trimmed"] += goes_on
            counts["chars_cut"] += len(document["text"]) - len(cut.text)
            row = verdict(
                document,
                stage="dedup",
                rule="repeated_lines",
                value=cut.value,
                threshold=writer.config.repeated_lines.max_documents,
                decision="trimmed" if goes_on else "dropped",
            )
            yield row, document | {"text": cut.text} if goes_on else None

    return {**write_judged(out / path.name, judged(), schema=writer.schema), **counts}


def _dropped(document: dict[str, Any], decision: Any, config: DedupConfig) -> dict[str, Any]:
    """The verdict of a duplicate; its value ends with the doc_id of the page kept instead."""
    rule = RULES[decision["rule"]]
    measured = f"{decision['similarity']:.3f} with" if decision["rule"] == NEAR else "same as"
    earlier = " earlier" if decision["kept_earlier"] else ""
    threshold = {
        "duplicate_url": f"the {config.url} of one URL",
        "duplicate_text": "the best of one text",
        "near_duplicate": f"{config.threshold}",
    }[rule]
    value = f"{measured}{earlier} {decision['kept'].decode()}"
    return verdict(document, stage="dedup", rule=rule, value=value, threshold=threshold)
