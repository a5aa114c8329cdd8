"""The `signatures` stage: what deduplication needs of each page, so that no later step and no later crawl reads texts.

A folder of signatures holds for each shard of documents, rows in the same order:

    part-00000.facts.npy        FACTS, one fixed-size row a document
    part-00000.shingles.npy     the sets of shingles one after the other, uint32, for exact verification
    part-00000.bands.keys.npy   keys of the MinHash bands, sorted; part-00000.bands.rows.npy: their documents
    urls/part-00000.parquet     doc_id and URL, for people

beside `signatures.json`: the configuration, the shards with a digest of their facts, names of languages and sources.
Numbers are little-endian. Left out: compression; shingles are random bits.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.crawl.urls import canonical_url
from gristmill.dedup.bands import Shingles, band_keys, shingles, signature
from gristmill.dedup.config import SIGNATURES_INDEX, SignaturesConfig
from gristmill.dedup.sorted_keys import write_sorted
from gristmill.record import check_folder
from gristmill.report import Report
from gristmill.shards import Workers, map_shards
from gristmill.text.documents import document_schema, read_shard, shard_paths, write_shard
from gristmill.text.scanned_words import scanned_word_hashes, text_key

NO_DATE = np.iinfo(np.int64).min
_SIGNATURES_AT_ONCE = 512
_COLUMNS = ("doc_id", "url", "date", "text", "language", "source")

FACTS = np.dtype(
    [
        ("doc_id", "S16"),
        ("url", "<u8"),  # hash of the canonical URL; 0 where there is none
        ("text", "<u8"),  # hash of the words
        ("language", "<u8"),  # hash of the name
        ("source", "<u8"),  # hash of the name
        ("date", "<i8"),  # microseconds since 1970; NO_DATE where there is none, or none that can be read
        ("chars", "<i4"),
        ("shingles", "<i4"),  # how many
        ("quality", "<f4"),  # the signal, NaN where there is none
    ]
)

URLS = pa.schema([("doc_id", pa.string()), ("url", pa.string())])


def run_signatures(documents: Path, out: Path, config: SignaturesConfig, *, workers: Workers = 1) -> Report:
    """Write the signatures of all documents of an artifact."""
    has_quality = "quality" in document_schema(documents).names
    sign = partial(_sign_shard, out=out, config=config, columns=[*_COLUMNS, *(["quality"] if has_quality else [])])
    shards = [(f"sign-{path.stem}", path) for path in shard_paths(documents)]
    signed = map_shards(sign, shards, out, workers=workers, label="signatures")
    write_index(out, config, signed)
    rows = sum(shard["documents"] for shard in signed)
    return Report(
        rows_in=rows,
        rows_out=rows,
        metrics={"shingles_per_document": sum(shard["shingles"] for shard in signed) / max(rows, 1)},
        details={"match_probability": {f"{j:.2f}": config.match_probability(j) for j in (0.5, 0.6, 0.7, 0.8, 0.9)}},
    )


def _sign_shard(path: Path, *, out: Path, config: SignaturesConfig, columns: list[str]) -> dict[str, Any]:
    with ShardOfSignatures(out / path.stem, config) as shard:
        for document in read_shard(path, columns=columns):
            hashes = scanned_word_hashes(document["text"])
            page = shingles(hashes, config.shingle_words)
            url = canonical_url(document["url"] or "")
            fact = (
                _doc_id(document["doc_id"], path),
                name_hash(url),
                text_key(hashes, document["text"]),
                shard.named("languages", document["language"]),
                shard.named("sources", document["source"]),
                microseconds(document["date"]),
                len(document["text"]),
                len(page),
                document.get("quality"),
            )
            shard.write(fact, page, document["url"])
    return shard.summary


class ShardOfSignatures:
    """Collects one shard; its files are whole once the block is left."""

    def __init__(self, stem: Path, config: SignaturesConfig) -> None:
        self.stem, self.config = stem, config
        self.names: dict[str, dict[str, str]] = {"languages": {}, "sources": {}}
        self.summary: dict[str, Any] = {}
        self._facts: list[tuple[Any, ...]] = []
        self._urls: list[str | None] = []
        self._sets: list[Shingles] = [np.zeros(0, np.uint32)]
        self._signatures: list[NDArray[np.uint32]] = []
        self._keys = [np.zeros((0, config.bands), np.uint64)]

    def __enter__(self) -> "ShardOfSignatures":
        return self

    def named(self, kind: str, name: str | None) -> int:
        """The number that stands for this name in the facts."""
        number = name_hash(name)
        self.names[kind][str(number)] = name or ""
        return number

    def write(self, fact: tuple[Any, ...], page: Shingles, url: str | None) -> None:
        self._facts.append(fact)
        self._sets.append(page)
        self._urls.append(url)
        self._signatures.append(signature(page, self.config))
        if len(self._signatures) == _SIGNATURES_AT_ONCE:
            self._to_keys()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        facts = np.array(self._facts, FACTS)
        self._to_keys()
        # a page without words has no shingles, and resembles nothing
        rows = np.flatnonzero(facts["shingles"]).astype(np.uint32)
        keys = np.concatenate(self._keys)[rows]
        rows_of_keys = np.repeat(rows, self.config.bands)
        self.summary = write_shard_files(
            self.stem, facts, np.concatenate(self._sets), keys.ravel(), rows_of_keys, self._urls, self.names
        )

    def _to_keys(self) -> None:
        # keys take a quarter of the signatures' memory
        if self._signatures:
            self._keys.append(band_keys(np.array(self._signatures), self.config))
            self._signatures.clear()


def write_shard_files(
    stem: Path,
    facts: NDArray[Any],
    sets: Shingles,
    keys: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    urls: Sequence[str | None],
    names: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """Write all files of one shard; returns its entry for the index."""
    write_sorted(stem.with_name(f"{stem.name}.bands"), keys, rows)
    np.save(stem.with_name(f"{stem.name}.shingles.npy"), sets)
    known = ({"doc_id": doc_id.decode(), "url": url} for doc_id, url in zip(facts["doc_id"], urls, strict=True))
    write_shard(stem.parent / "urls" / f"{stem.name}.parquet", known, schema=URLS)
    np.save(stem.with_name(f"{stem.name}.facts.npy"), facts)
    return {
        "name": stem.name,
        "documents": len(facts),
        "shingles": len(sets),
        "facts_sha256": hashlib.sha256(facts.tobytes()).hexdigest(),
        **names,
    }


def write_index(out: Path, config: SignaturesConfig, shards: list[dict[str, Any]]) -> None:
    """`signatures.json`, the last file of a folder of signatures."""
    index = {
        "format": 1,
        "config": config.model_dump(mode="json"),
        "shards": [{k: v for k, v in shard.items() if k not in ("languages", "sources")} for shard in shards],
    }
    for kind in ("languages", "sources"):
        names = {number: name for shard in shards for number, name in shard[kind].items()}
        index[kind] = dict(sorted(names.items(), key=lambda pair: pair[1]))
    (out / SIGNATURES_INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class SignedShard:
    stem: Path
    documents: int
    start: int
    """Number of its first document, counted over all shards."""

    @property
    def bands(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}.bands")

    def facts(self) -> NDArray[Any]:
        return np.load(self.stem.with_name(f"{self.stem.name}.facts.npy"))


@dataclass(frozen=True)
class Signatures:
    """The shards of one or several folders, their documents numbered through in this order."""

    config: SignaturesConfig
    shards: tuple[SignedShard, ...]
    names: dict[int, str]
    """Hash in the facts → name of the language or source."""
    starts: tuple[int, ...]
    """Number of each folder's first document, and at last of all documents."""

    @classmethod
    def open(cls, folders: Sequence[Path]) -> "Signatures":
        """Raises ValueError for a folder that holds none, or whose signatures were made with other parameters, and
        BrokenArtifact for one whose files are not what its record says."""
        config: SignaturesConfig | None = None
        shards: list[SignedShard] = []
        names: dict[int, str] = {}
        starts = [0]
        for folder in folders:
            check_folder(folder)
            index = _read_index(folder)
            made_with = SignaturesConfig.model_validate(index["config"])
            config = config or made_with
            if made_with != config:
                raise ValueError(
                    f"{folder} was made with {_differences(made_with, config)}; signatures can only be compared with "
                    "those of the same parameters: build one of the two again"
                )
            names.update({int(k): name for kind in ("languages", "sources") for k, name in index[kind].items()})
            for shard in index["shards"]:
                before = shards[-1].start + shards[-1].documents if shards else 0
                shards.append(SignedShard(folder / shard["name"], shard["documents"], before))
            starts.append(shards[-1].start + shards[-1].documents if shards else 0)
        if config is None:
            raise ValueError("no folder of signatures was given")
        return cls(config, tuple(shards), names, tuple(starts))

    def __len__(self) -> int:
        return self.starts[-1]

    def facts(self, *names: str) -> Iterator[NDArray[Any]]:
        """One array [documents] for each of these columns of FACTS. One shard's rows are read at a time."""
        columns = [np.zeros(len(self), FACTS[name]) for name in names]
        for shard in self.shards:
            rows = shard.facts()
            for name, column in zip(names, columns, strict=True):
                column[shard.start : shard.start + shard.documents] = rows[name]
        yield from columns


def name_hash(name: str | None) -> int:
    """64 bits of BLAKE2b; 0 for no name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") if name else 0


def microseconds(date: str | None) -> int:
    """Microseconds since 1970 of an ISO 8601 date, UTC where it names no zone; NO_DATE for what is no date."""
    try:
        moment = datetime.fromisoformat(date or "")
    except ValueError:
        return NO_DATE
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def _doc_id(doc_id: str, path: Path) -> bytes:
    encoded = doc_id.encode()
    if len(encoded) > FACTS["doc_id"].itemsize:
        raise ValueError(
            f"{path}: doc_id {doc_id!r} has {len(encoded)} bytes; expected at most 16, as extract makes them"
        )
    return encoded


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / SIGNATURES_INDEX
    if not path.is_file():
        raise ValueError(f"no {SIGNATURES_INDEX} in {folder}; expected an artifact of kind signatures")
    return json.loads(path.read_text(encoding="utf-8"))


def _differences(found: SignaturesConfig, expected: SignaturesConfig) -> str:
    mine, theirs = found.model_dump(), expected.model_dump()
    return ", ".join(f"{name}={mine[name]} (elsewhere {theirs[name]})" for name in mine if mine[name] != theirs[name])
