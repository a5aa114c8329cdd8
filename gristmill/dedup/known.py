"""The `known` stage: the signatures of the documents that survived, joined into few shards.

A later crawl is deduplicated against it (`dedup.against`) and `gristmill seen` asks it. Only survivors count: a page
that resembles a dropped one, but not the page kept instead, is no duplicate of anything the corpus holds.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.dedup.config import SIGNATURES_INDEX, KnownConfig
from gristmill.dedup.signatures import FACTS, Signatures, SignedShard, write_index, write_shard_files
from gristmill.dedup.similarity import shingle_starts
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import count_documents, read_shard


def run_known(documents: Path, signatures: Path, out: Path, config: KnownConfig, *, workers: Workers = 1) -> Report:
    """Write the signatures of those documents that `dedup` left. documents: its artifact; signatures: what it read."""
    signed = Signatures.open([signatures])
    groups = list(_groups(signed, documents, config.documents_per_shard))
    join = partial(_join, documents=documents, signed=signed)
    shards = [(f"known-{number:05d}", (out / f"part-{number:05d}", group)) for number, group in enumerate(groups)]
    joined = map_shards(join, shards, out, workers=workers, label="known")
    names = json.loads((signatures / SIGNATURES_INDEX).read_text(encoding="utf-8"))
    both = {kind: names[kind] for kind in ("languages", "sources")}
    write_index(out, signed.config, [{**shard, **both} for shard in joined])
    rows = sum(shard["documents"] for shard in joined)
    assert rows == count_documents(documents), "a surviving document has no signature"
    return Report(rows_in=len(signed), rows_out=rows, details={"shards": len(joined)})


def _groups(signed: Signatures, documents: Path, limit: int) -> Iterator[list[SignedShard]]:
    """Consecutive shards with at most so many survivors together, or one shard alone."""
    group: list[SignedShard] = []
    held = 0
    for shard in signed.shards:
        survivors = pq.read_metadata(documents / f"{shard.stem.name}.parquet").num_rows
        if group and held + survivors > limit:
            yield group
            group, held = [], 0
        group.append(shard)
        held += survivors
    if group:
        yield group


def _join(shard: tuple[Path, list[SignedShard]], *, documents: Path, signed: Signatures) -> dict[str, Any]:
    stem, group = shard
    facts, sets = [np.zeros(0, FACTS)], [np.zeros(0, np.uint32)]
    keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    urls: list[str | None] = []
    for part in group:
        given = part.facts()
        survived = _survivors(given, documents / f"{part.stem.name}.parquet")
        place = np.cumsum(survived) - 1 + sum(map(len, facts))
        bands = part.bands
        part_rows = np.load(bands.with_name(f"{bands.name}.rows.npy"))
        kept = survived[part_rows]
        keys.append(np.load(bands.with_name(f"{bands.name}.keys.npy"))[kept])
        rows.append(place[part_rows[kept]].astype(np.uint32))
        starts = shingle_starts(given["shingles"])
        elements = np.load(part.stem.with_name(f"{part.stem.name}.shingles.npy"))
        sets.append(elements[np.repeat(survived, np.diff(starts))])
        facts.append(given[survived])
        known = read_shard(part.stem.parent / "urls" / f"{part.stem.name}.parquet", columns=["url"])
        urls += [row["url"] for row, stays in zip(known, survived.tolist(), strict=True) if stays]
    return write_shard_files(
        stem,
        np.concatenate(facts),
        np.concatenate(sets),
        np.concatenate(keys),
        np.concatenate(rows),
        urls,
        {"languages": {}, "sources": {}},
    )


def _survivors(facts: NDArray[Any], documents: Path) -> NDArray[np.bool_]:
    """Which rows of the signatures have a document."""
    ids = pq.read_table(documents, columns=["doc_id"]).column("doc_id").to_pylist()
    return np.isin(facts["doc_id"], np.array([doc_id.encode() for doc_id in ids], FACTS["doc_id"]))
