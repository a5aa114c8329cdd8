"""What deduplication computes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gristmill.schema import Schema, StageConfig


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
