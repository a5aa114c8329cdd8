"""What deduplication and decontamination compute."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gristmill.errors import SourceUnavailable
from gristmill.schema import Schema, StageConfig
from gristmill.text.config import HELD_OUT_INDEX


class MinHashConfig(Schema):
    """Near-duplicates by MinHash and banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).

    One object for signatures, bands and verification, so that no step can run with other parameters than the last.
    """

    shingle_words: int = Field(default=5, ge=1)
    """Consecutive words in one shingle; a page is the set of its shingles."""
    bands: int = Field(default=32, ge=1)
    """Pages that agree on all hashes of one band become candidates. More bands find more pairs."""
    rows_per_band: int = Field(default=8, ge=1)
    """Hashes in one band. More of them make fewer candidates."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Two pages are near-duplicates when the exact Jaccard similarity of their shingles reaches this."""
    seed: int = Field(default=1, ge=0)
    """Seed of the hash functions."""

    @property
    def num_perm(self) -> int:
        """Hash functions in a signature."""
        return self.bands * self.rows_per_band

    def match_probability(self, jaccard: float) -> float:
        """Chance that two pages of this similarity share at least one band, and so get verified."""
        return 1 - (1 - jaccard**self.rows_per_band) ** self.bands

    @model_validator(mode="after")
    def _bands_find_what_the_threshold_asks_for(self) -> Self:
        found = self.match_probability(self.threshold)
        if found < 0.5:
            raise ValueError(
                f"minhash: bands={self.bands} of rows_per_band={self.rows_per_band} find only {found:.0%} of the pairs "
                f"at threshold={self.threshold}; use more bands or fewer rows per band"
            )
        return self


class DedupConfig(StageConfig):
    """Drop pages seen before: same canonical URL, same words, or nearly the same words."""

    url: Literal["latest", "best"] = "latest"
    """Of several captures of one URL keep the one with the latest date, or the best (longest, then latest)."""
    minhash: MinHashConfig = MinHashConfig()
    """How near-duplicates are found."""


class DecontaminateConfig(StageConfig):
    """Cut benchmark items out of pages that may train."""

    benchmarks: list[str] = []
    """More JSON-lines files of benchmark items, one `{"id", "text", "summary"}` a line (id and summary optional)."""
    against: list[str] = []
    """Folders of earlier `split` artifacts. A page they validated or held out, by URL or text, does not train now."""
    ngram_words: int = Field(default=8, ge=2)
    """Consecutive words in one n-gram; items are looked up by their n-grams."""
    min_summary_words: int = Field(default=5, ge=2)
    """A summary of at least this many words is cut wherever it stands verbatim; shorter ones are common phrases."""
    max_overlap: float = Field(default=0.5, gt=0, le=1)
    """A passage is kept when it shares less than this of an item's n-grams, each weighted by 1 / pages it stands on."""
    max_verbatim_words: int = Field(default=12, ge=2)
    """Consecutive words of an item, in its order, that a kept passage may hold: with one more for each page they stand
    on, since a phrase of many pages says nothing about an item. GPT-3 cut at 13 words."""
    max_boilerplate_words: int = Field(default=49, ge=2)
    """A longer run of an item's words is cut, on however many pages it stands."""
    min_kept_ratio: float = Field(default=0.5, ge=0, le=1)
    """A page is kept, without the cut lines, when at least this share of its characters remains."""

    @model_validator(mode="after")
    def _runs_are_made_of_ngrams(self) -> Self:
        if not self.ngram_words <= self.max_verbatim_words + 1 <= self.max_boilerplate_words + 1:
            raise ValueError(
                f"decontaminate: ngram_words={self.ngram_words}, max_verbatim_words={self.max_verbatim_words} and "
                f"max_boilerplate_words={self.max_boilerplate_words} must ascend: runs are seen by their n-grams"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Files stand for their content: the same items under another path are the same stage."""
        return self.model_dump(mode="json") | {
            "benchmarks": [_sha256("decontaminate.benchmarks", Path(path)) for path in self.benchmarks],
            "against": [_sha256("decontaminate.against", Path(path) / HELD_OUT_INDEX) for path in self.against],
        }


def _sha256(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceUnavailable(f"{key}: cannot read {path} ({error.strerror}); correct the path") from error
