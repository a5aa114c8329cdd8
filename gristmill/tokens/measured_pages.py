"""What mixing knows of each page: numbers in arrays, no text and no object per page.

Memory: some 120 bytes a page while they are read, then half of that.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.filters.opt_out import OptOut, OptOutConfig
from gristmill.text.order import place
from gristmill.tokens.mix_config import BucketConfig, MixConfig

UNIDENTIFIED = "und"

_MEASURED_SCHEMA = pa.schema(
    [
        ("id", pa.uint64()),
        ("place", pa.float64()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("language", pa.dictionary(pa.int32(), pa.string())),
        ("bytes", pa.int64()),
        ("chars", pa.int64()),
        ("signal", pa.float32()),  # as signals are stored: a page that equals an edge as written lies above it
        ("cluster_size", pa.int64()),
        ("refused", pa.bool_()),
    ]
)


def measure_shard(path: Path, *, work: Path, config: MixConfig, lists: OptOutConfig) -> dict[str, Any]:
    """Write a row of numbers for each document of a shard, under the same name in `work`."""
    opt_out = OptOut.read(lists, setting="mix.opt_out")
    present = pq.read_schema(path).names
    signal = config.buckets.signal if config.buckets else None
    wanted = ["doc_id", "source", "language", "text"]
    wanted += [name for name in (signal, "cluster_size" if config.rehydrate else None) if name]
    wanted += [name for name in ("url", "text_hash") if opt_out and name in present]
    rows = 0
    temporary = work / f"{path.name}.tmp"
    with pq.ParquetFile(path) as file, pq.ParquetWriter(temporary, _MEASURED_SCHEMA) as writer:
        for batch in file.iter_batches(batch_size=4096, columns=list(dict.fromkeys(wanted))):
            ids = batch.column("doc_id").to_pylist()
            facts = batch.drop_columns(["text"]).to_pylist() if opt_out else []
            columns = [
                pa.array([int(doc_id, 16) for doc_id in ids], pa.uint64()),
                pa.array([place(doc_id, seed=config.seed, purpose="mix") for doc_id in ids]),
                batch.column("source"),
                batch.column("language").fill_null(UNIDENTIFIED),
                pc.call_function("binary_length", [batch.column("text")]),
                pc.call_function("utf8_length", [batch.column("text")]),
                batch.column(signal) if signal else pa.nulls(len(ids)),
                batch.column("cluster_size") if config.rehydrate else pa.nulls(len(ids)),
                pa.array([opt_out.refuse(page) is not None for page in facts] if opt_out else [False] * len(ids)),
            ]
            arrays = [column.cast(kind) for column, kind in zip(columns, _MEASURED_SCHEMA.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=_MEASURED_SCHEMA))
            rows += len(ids)
    temporary.rename(work / path.name)
    return {"rows_in": rows}


@dataclass(frozen=True)
class MeasuredPages:
    """Arrays [n], by the pages' ids, so that neither shards nor their order matter."""

    place: NDArray[np.float64]
    rate: NDArray[np.float64]
    """0 for a page on an opt-out list."""
    source: NDArray[np.integer]
    language: NDArray[np.integer]
    tokens: NDArray[np.int64]
    """Estimated."""
    bytes: NDArray[np.int64]
    chars: NDArray[np.int64]
    bucket: NDArray[np.integer]
    """-1: not measured, or there are no buckets."""
    refused: NDArray[np.bool_]
    sources: list[str]
    languages: list[str]
    """Names of the numbers, sorted."""
    edges: dict[str, list[float]]
    """Between buckets, by language; `` where they hold for all of them."""
    _document_order: NDArray[np.int64]
    """For each row of the shards, one after the other, its page."""
    _shard_rows: list[int]

    @classmethod
    def read(cls, paths: list[Path], config: MixConfig) -> Self:
        """From what `measure_shard` wrote."""
        tables = [pq.read_table(path) for path in paths]
        table = pa.concat_tables(tables).unify_dictionaries()
        by_id = np.argsort(table.column("id").to_numpy(), kind="stable")
        source, sources = _numbered(table.column("source"))
        language, languages = _numbered(table.column("language"))
        source, language = source[by_id], language[by_id]
        refused = table.column("refused").to_numpy()[by_id]
        signal = table.column("signal").to_numpy()[by_id]  # NaN where it is null
        size = table.column("bytes").to_numpy()[by_id]
        bucket, edges = np.full(len(size), -1), {}
        rate = np.where(refused, 0.0, 1.0)
        if config.buckets:
            edges = _edges(signal, refused, language, languages, config.buckets)
            bucket = _buckets(signal, language, languages, edges)
            # -1, not measured, is the last entry
            rate *= np.array([*config.buckets.rates, config.buckets.unmeasured_rate])[bucket]
        if config.cluster_rates is not None:
            steps = sorted(config.cluster_rates)
            cluster = np.asarray(table.column("cluster_size").fill_null(1).to_numpy())[by_id]
            found = np.searchsorted(steps, cluster, side="right") - 1
            rate *= np.array([config.cluster_rates[step] for step in steps], float)[found]
        per_token = [config.language_bytes_per_token.get(name, config.bytes_per_token) for name in languages]
        tokens = np.ceil(size / np.array(per_token, float)[language]).astype(np.int64).clip(1)
        document_order = np.empty(len(by_id), np.int64)
        document_order[by_id] = np.arange(len(by_id))
        return cls(
            place=table.column("place").to_numpy()[by_id],
            rate=rate,
            source=source,
            language=language,
            tokens=tokens,
            bytes=size,
            chars=table.column("chars").to_numpy()[by_id],
            bucket=bucket,
            refused=refused,
            sources=sources,
            languages=languages,
            edges=edges,
            _document_order=document_order,
            _shard_rows=[len(each) for each in tables],
        )

    def by_shard(self, *arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """For each shard the entries of these arrays, in the order of its rows."""
        ends = np.cumsum([0, *self._shard_rows])
        rows = [self._document_order[start:end] for start, end in pairwise(ends)]
        return [tuple(array[mine] for array in arrays) for mine in rows]

    def table(self, epochs: np.ndarray) -> pa.Table:
        """A row for each page that is on no opt-out list, for `contributions`."""
        mine = ~self.refused
        return pa.table(
            {
                "source": pa.DictionaryArray.from_arrays(self.source[mine], self.sources).cast(pa.string()),
                "language": pa.DictionaryArray.from_arrays(self.language[mine], self.languages).cast(pa.string()),
                "bucket": pa.array(self.bucket[mine], mask=self.bucket[mine] < 0),
                "epochs": epochs[mine],
                "chars": self.chars[mine],
                "bytes": self.bytes[mine],
                "estimated_tokens": self.tokens[mine],
            }
        )


def _numbered(names: pa.ChunkedArray) -> tuple[NDArray[np.integer], list[str]]:
    """Each row's number among the sorted names."""
    encoded = pa.concat_arrays(names.chunks)
    known = encoded.dictionary.to_pylist()
    ranks = np.argsort(np.argsort(known)).astype(np.int32) if known else np.zeros(0, np.int32)
    return ranks[encoded.indices.to_numpy()], sorted(known)


def _edges(
    signal: NDArray, refused: NDArray, language: NDArray, languages: list[str], config: BucketConfig
) -> dict[str, list[float]]:
    if config.edges is not None:
        return {"": np.array(config.edges, np.float32).tolist()}
    assert config.quantiles is not None
    edges = {}
    for number, name in enumerate(languages):
        values = np.sort(signal[(language == number) & ~refused & ~np.isnan(signal)])
        cuts = np.arange(1, config.quantiles) * len(values) // config.quantiles
        edges[name] = values[cuts].tolist() if len(values) else []
    return edges


def _buckets(signal: NDArray, language: NDArray, languages: list[str], edges: dict[str, list[float]]) -> NDArray:
    bucket = np.full(len(signal), -1)
    for number, name in enumerate(languages):
        mine = (language == number) & ~np.isnan(signal)
        bucket[mine] = np.searchsorted(edges.get(name, edges.get("", [])), signal[mine], side="right")
    return bucket
