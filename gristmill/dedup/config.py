"""What signatures and deduplication compute."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gristmill.errors import NotHere
from gristmill.schema import Schema, StageConfig

SIGNATURES_INDEX = "signatures.json"


class SignaturesConfig(StageConfig):
    """MinHash signatures in bands (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).

    Written into the artifact and read from there by every later step, so that none can run with other parameters.
    """

    shingle_words: int = Field(default=5, ge=1)
    """Consecutive words in one shingle; a page is the set of its shingles."""
    bands: int = Field(default=32, ge=1)
    """Pages that agree on all hashes of one band become candidates. More bands find more pairs."""
    rows_per_band: int = Field(default=8, ge=1)
    """Hashes in one band. More of them make fewer candidates."""
    seed: int = Field(default=1, ge=0)
    """Seed of the hash functions."""

    @property
    def num_perm(self) -> int:
        """Hash functions in a signature."""
        return self.bands * self.rows_per_band

    def match_probability(self, jaccard: float) -> float:
        """Chance that two pages of this similarity share at least one band, and so get verified."""
        return 1 - (1 - jaccard**self.rows_per_band) ** self.bands

    def check_threshold(self, threshold: float) -> None:
        """Raise ValueError where the bands would miss half of what the threshold asks for."""
        found = self.match_probability(threshold)
        if found < 0.5:
            raise ValueError(
                f"signatures: bands={self.bands} of rows_per_band={self.rows_per_band} find only {found:.0%} of the "
                f"pairs at dedup.threshold={threshold}; use more bands or fewer rows per band"
            )


class ClusterCap(Schema):
    """What may be lost of one source to one page.

    Pages that share a template resemble each other without being copies. Where one kept page would take this much of
    a source along, the report raises an alarm, and only pages that are nearly identical to it are dropped.
    """

    documents: int = Field(default=1000, ge=1)
    """Fewer pages of the source than this are no alarm."""
    source_share: float = Field(default=0.2, gt=0, le=1)
    """A smaller share of the source than this is no alarm."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Exact Jaccard similarity at which a page of such a cluster is dropped nevertheless."""


class RepeatedLines(Schema):
    """Lines that stand on many pages: headers, footers, licences. In extracted text a paragraph is a line."""

    max_documents: int | None = Field(default=None, ge=1)
    """A line on more surviving pages than this is cut from all but the best of them; null cuts none."""
    min_words: int = Field(default=5, ge=1)
    """Shorter lines are never cut: they are words of the language more often than boilerplate."""
    within: Literal["domain", "all"] = "domain"
    """Count pages of one registered domain, or of all."""


class DedupConfig(StageConfig):
    """Drop pages seen before: same canonical URL, same words, or nearly the same words."""

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Two pages are near-duplicates when the exact Jaccard similarity of their shingles reaches this."""
    keep: list[Literal["quality", "length", "latest", "earliest"]] = ["quality", "length", "latest"]
    """Which of several pages is the best: the first of these that tells them apart decides, at last the smaller
    doc_id. A page without the signal `quality`, or without a date, comes after those that have one."""
    url: Literal["latest", "best"] = "latest"
    """Of several captures of one URL keep the one with the latest date, or the best."""
    within: list[Literal["language", "source"]] = []
    """Compare only pages of the same language, of the same source, or both; by default all with all."""
    max_leaders: int = Field(default=100, ge=1)
    """Pages that the others of one bucket, and then of one cluster, are compared with, the best first. It bounds the
    work where very many pages resemble each other a little; what was left out is in the report."""
    cap: ClusterCap = ClusterCap()
    """Alarm and brake for clusters that swallow a source."""
    repeated_lines: RepeatedLines = RepeatedLines()
    """Lines that stand on many pages."""
    against: list[str] = []
    """Folders of earlier `known` artifacts: what they hold counts as seen. Their texts are not read."""
    earlier: Literal["wins", "by_rule"] = "wins"
    """A page that an earlier crawl has is dropped; or the better one by `keep` and `url` wins, and earlier pages that
    lose are listed in `superseded.parquet` for whoever mixes both crawls."""
    memory_mb: int = Field(default=512, ge=16)
    """Working memory of each worker beside what docs/dedup.md counts by document. No part of the key: it decides in
    how many ranges the keys are merged, and nothing else."""

    def identity(self) -> dict[str, Any]:
        """Folders stand for their content: the same signatures under another path are the same stage."""
        against = [_known_sha256(Path(folder) / SIGNATURES_INDEX) for folder in self.against]
        return self.model_dump(mode="json", exclude={"memory_mb"}) | {"against": against}

    @model_validator(mode="after")
    def _date_has_one_direction(self) -> Self:
        if len(set(self.keep)) < len(self.keep) or {"latest", "earliest"} <= set(self.keep):
            raise ValueError(f"dedup.keep={self.keep}: name each of them once, and one of latest and earliest")
        return self


class KnownConfig(StageConfig):
    """The signatures of what survived, for later crawls and for `gristmill seen`."""

    documents_per_shard: int = Field(default=250_000, ge=1)
    """Small shards are joined up to this many documents: a question looks into every shard."""


def _known_sha256(path: Path) -> str:
    # the index holds the digest of each shard's facts, so it stands for the whole folder
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotHere(
            f"dedup.against: cannot read {path} ({error.strerror}); name folders of known or signatures artifacts"
        ) from error
