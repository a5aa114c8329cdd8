"""Have I seen this page? datasketch's MinHashLSH asks the signatures that artifacts hold, where they lie.

`MinHashLSH` keeps a hash table for each band in a storage. Here the storage is the sorted keys of a `known` artifact
on disk: nothing is built, nothing is loaded, and a question costs one binary search for each band and shard. What the
bands propose is decided by exact Jaccard similarity. Left out: a server (datasketch's storages for Redis and Cassandra
take the same MinHash objects).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH
from datasketch.storage import UnorderedStorage

from gristmill.crawl.urls import canonical_url
from gristmill.dedup.bands import Shingles, jaccard, keys_of, shingles, signature
from gristmill.dedup.signatures import Signatures, SignedShard, name_hash
from gristmill.dedup.similarity import ShingleSets, shingle_starts
from gristmill.jsonl import read_jsonl
from gristmill.text.scanned_words import scanned_word_hashes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEMORY_BYTES = 64 << 20


@dataclass(frozen=True)
class Question:
    """A text to look up, as a document would have it."""

    name: str
    """Where it comes from, `pages.jsonl:3`."""
    text: str
    url: str | None = None


@dataclass(frozen=True)
class Neighbour:
    artifact: str
    doc_id: str
    url: str | None
    jaccard: float
    """Exact similarity of the sets of shingles; 1 also for other orders of the same shingles."""


@dataclass(frozen=True)
class Answer:
    name: str
    words: int
    neighbours: list[Neighbour]
    """Known documents that share a band with it, the most similar first."""
    same_url: list[Neighbour]
    """Known documents of its canonical URL."""

    def seen(self, threshold: float) -> bool:
        return any(each.jaccard >= threshold for each in self.neighbours)


class SeenIndex:
    """The signatures of some artifacts, address → folder. Raises ValueError for a folder without, or with others of
    other parameters."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._addresses = list(folders)
        self._signatures = Signatures.open(list(folders.values()))
        config = self._signatures.config
        self._lsh = MinHashLSH(num_perm=config.num_perm, params=(config.bands, config.rows_per_band))
        self._lsh.hashtables = [StoredBand(self._signatures.shards, band) for band in range(config.bands)]

    def __len__(self) -> int:
        return len(self._signatures)

    def ask(self, question: Question) -> Answer:
        config = self._signatures.config
        hashes = scanned_word_hashes(question.text)
        page = shingles(hashes, config.shingle_words)
        sketch = MinHash(hashvalues=signature(page, config), seed=config.seed, scheme="affine32")
        candidates: list[int] = sorted(self._lsh.query(sketch)) if len(page) else []  # pyright: ignore[reportArgumentType]
        neighbours = [self._neighbour(document, page) for document in candidates]
        neighbours.sort(key=lambda each: (-each.jaccard, each.artifact, each.doc_id))
        same_url = [self._neighbour(document, page) for document in self._with_url(question.url)]
        return Answer(question.name, len(hashes), neighbours, same_url)

    def _neighbour(self, document: int, page: Shingles) -> Neighbour:
        folder = int(np.searchsorted(self._signatures.starts, document, side="right")) - 1
        shard = next(s for s in self._signatures.shards if s.start <= document < s.start + s.documents)
        path = shard.stem.parent / "urls" / f"{shard.stem.name}.parquet"
        row = pq.read_table(path).slice(document - shard.start, 1).to_pylist()[0]
        return Neighbour(self._addresses[folder], row["doc_id"], row["url"], jaccard(self._sets.read(document), page))

    def _with_url(self, url: str | None) -> Iterator[int]:
        wanted = name_hash(canonical_url(url or ""))
        for shard in self._signatures.shards if wanted else ():
            yield from (shard.start + np.flatnonzero(shard.facts()["url"] == wanted)).tolist()

    @cached_property
    def _sets(self) -> ShingleSets:
        (counts,) = self._signatures.facts("shingles")
        return ShingleSets(self._signatures, shingle_starts(counts), memory_bytes=_MEMORY_BYTES)


class StoredBand(UnorderedStorage):
    """One band's hash table as datasketch asks it: bytes of the band's hashes → documents. It cannot be changed."""

    def __init__(self, shards: Iterable[SignedShard], band: int) -> None:
        self._shards, self._band = list(shards), band

    def get(self, key: bytes) -> set[int]:
        hashes = np.frombuffer(key, ">u4").astype(np.uint32)  # datasketch swaps the bytes of each hash
        wanted = keys_of(hashes.reshape(1, 1, -1), np.array([self._band]))[0, 0]
        found: set[int] = set()
        for shard, (keys, rows) in zip(self._shards, self._files, strict=True):
            start, stop = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
            found.update((rows[start:stop].astype(np.int64) + shard.start).tolist())
        return found

    def has_key(self, key: bytes) -> bool:
        return bool(self.get(key))

    @cached_property
    def _files(self) -> "list[tuple[NDArray[np.uint64], NDArray[np.uint32]]]":
        stems = [shard.bands for shard in self._shards]
        return [
            (
                np.load(stem.with_name(f"{stem.name}.keys.npy"), mmap_mode="r"),
                np.load(stem.with_name(f"{stem.name}.rows.npy"), mmap_mode="r"),
            )
            for stem in stems
        ]

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("signatures of an artifact can be asked for a key, not listed or changed")

    keys = insert = remove = remove_val = size = itemcounts = _refuse


def read_questions(path: Path) -> Iterator[Question]:
    """The texts of a file: JSON lines with `text` (and `url`), HTML, or plain text in UTF-8.

    HTML goes through the precise extractor, as `extract` would have it. Raises ValueError for a row without text.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        for place, row in read_jsonl(path):
            yield _of_row(place, row)
        return
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; correct the path") from None
    from gristmill.text.extractors import opens_as_html

    is_html = path.suffix in (".html", ".htm") or opens_as_html(body)
    yield Question(path.name, _text_of_html(body) if is_html else body.decode("utf-8", errors="replace"))


def _of_row(place: str, row: dict[str, Any]) -> Question:
    if not isinstance(row.get("text"), str):
        raise ValueError(f'{place}: expected an object with "text", found the keys {", ".join(row)}')
    return Question(place, row["text"], row.get("url"))


def _text_of_html(body: bytes) -> str:
    from gristmill.text.clean import clean_text
    from gristmill.text.extractors import decode_html, main_text, quick_text

    html = decode_html(body, None)
    return clean_text(main_text(html, quick_text(html)[0], "precise"))
