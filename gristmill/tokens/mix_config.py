"""What mixing computes: shares of sources and languages, rates of quality buckets and clusters, a length."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gristmill.filters.opt_out import OptOutConfig
from gristmill.schema import Schema, StageConfig

FINEWEB2_RATES: Mapping[int, float] = {1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}
"""Cluster size from which on → rate (FineWeb2; Penedo et al. 2025, arXiv:2506.20920)."""

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BucketConfig(Schema):
    """Buckets of a signal, such as a quality score, and how often their pages are seen."""

    signal: str
    """A number that a stage measured for each page, such as `quality`; higher values lie in later buckets."""
    edges: list[Annotated[float, Field(allow_inf_nan=False)]] | None = None
    """Ascending values between the buckets. A page that equals an edge lies in the bucket above it."""
    quantiles: int | None = Field(default=None, ge=2)
    """In place of edges: so many buckets with equally many pages, by each language's own distribution, since the scores
    of two languages do not compare."""
    rates: list[NotNegative] = Field(min_length=2)
    """One a bucket, from the lowest values on. A page at rate 2 is seen twice as often as one at rate 1 of the same
    source and language, up to `max_epochs`; 0 leaves a bucket out."""
    unmeasured_rate: NotNegative = 1.0
    """Of pages for which the signal is null; they lie in no bucket."""

    @model_validator(mode="after")
    def _a_rate_for_each_bucket(self) -> Self:
        if (self.edges is None) == (self.quantiles is None):
            raise ValueError("buckets: give either edges or quantiles")
        if self.edges is not None and self.edges != sorted(set(self.edges)):
            raise ValueError(f"buckets: edges={self.edges} must ascend, no value twice")
        count = len(self.edges) + 1 if self.edges is not None else self.quantiles
        if len(self.rates) != count:
            raise ValueError(f"buckets: {count} buckets need as many rates, not {len(self.rates)}")
        return self


class MixConfig(StageConfig):
    """Which pages go on, and how often each is seen.

    A weight is a target share of the mixture's tokens, as training sees them. A rate is how often a page is seen,
    beside the other pages of its source and language; the rates of its bucket and its cluster are multiplied.
    Without a length the mixture goes on while pages come that were not seen at their rate yet, and ends earlier where a
    source (where sources have no weights: a language) has been seen `max_epochs` times and its share could not be held.
    """

    source_weights: dict[str, NotNegative] = {}
    """Source → its share of the mixture's tokens, relative to the other weights; 0 shuts it out. Empty: sources have
    the shares that their pages make. Filled in from `ingest.sources[].weight`."""
    language_weights: dict[str, NotNegative] = {}
    """Language → its share within each source; `und` is what was not identified. A language that a source lacks leaves
    its place to the others there. Empty: languages have the shares that their pages make."""
    buckets: BucketConfig | None = None
    """Quality buckets and their rates."""
    rehydrate: Literal["fineweb2"] | dict[PositiveInt, NotNegative] | None = None
    """Rates by cluster size, the pages that dedup found a page to stand for: a table such as `{1: 1, 2: 2, 5: 4}`, size
    from which on → rate, or FineWeb2's `{1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}`."""
    max_epochs: float = Field(default=1.0, gt=0, le=100)
    """No page is seen more often. With 2.5 each may be seen twice, and half of them, by hash, a third time."""
    max_tokens: PositiveInt | None = None
    """Length of the mixture in tokens, repeated ones counted, estimated with `bytes_per_token`: at most so many. A
    source or language that has been seen `max_epochs` times leaves its place to the others."""
    max_chars: PositiveInt | None = None
    """The same in characters."""
    max_documents: PositiveInt | None = None
    """The same in documents."""
    bytes_per_token: Positive = 4.0
    """UTF-8 bytes in a token, for estimates: no tokenizer exists yet. `tokenize` reports what it came to."""
    language_bytes_per_token: dict[str, PositiveFloat] = {}
    """The same for single languages, such as `bytes_per_token` in an earlier report of `train_tokenizer`."""
    seed: int = 0
    """Changes which pages are sampled, and which are seen once more than others."""
    opt_out: OptOutConfig = OptOutConfig()
    """Lists of domains, URLs and texts that are left out from here on: the same lists as the filter's, or newer ones,
    applied without building again what lies before."""

    @property
    def cluster_rates(self) -> Mapping[int, float] | None:
        """Cluster size from which on → rate."""
        return FINEWEB2_RATES if self.rehydrate == "fineweb2" else self.rehydrate

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json") | {"opt_out": self.opt_out.identity(setting="mix.opt_out")}

    @model_validator(mode="after")
    def _rates_can_be_held(self) -> Self:
        table = self.cluster_rates
        if table is not None and 1 not in table:
            raise ValueError(f"mix.rehydrate={dict(table)} has no rate for clusters of 1 page; add one")
        if table is not None and max(table.values()) > 1 and self.max_epochs <= 1:
            raise ValueError(
                f"mix.rehydrate lets pages be seen up to {max(table.values()):g} times, mix.max_epochs="
                f"{self.max_epochs:g} only once; raise max_epochs"
            )
        for name, weights in (("source_weights", self.source_weights), ("language_weights", self.language_weights)):
            if weights and not any(weights.values()):
                raise ValueError(f"mix.{name} shuts out everything; give one a weight above 0")
        return self
