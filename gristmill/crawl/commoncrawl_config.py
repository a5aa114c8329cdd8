"""The source `commoncrawl`: which crawl, which of its files, or which pages its index knows of."""

import re
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from gristmill.schema import Schema, StageConfig

CRAWL_ID = re.compile(r"CC-MAIN-[0-9]{4}(?:-[0-9]{2,4})?")


class CdxQuery(Schema):
    """Which captures the index shall name; all conditions hold together."""

    url: str = Field(min_length=1)
    """Address or domain without `http://`, as the index takes it: `example.org`, `example.org/docs/`."""
    match: Literal["exact", "prefix", "host", "domain"] = "domain"
    """`exact`: this URL. `prefix`: all that begin with it. `host`: all of a host. `domain`: of its subdomains too."""
    status: PositiveInt | None = 200
    """HTTP status of the captures that are kept; null: any."""
    mimes: list[str] | None = Field(default=["text/html", "application/xhtml+xml"], min_length=1)
    """Kept types of content, as Common Crawl detected them; null: any."""
    languages: list[str] | None = Field(default=None, min_length=1)
    """Kept main languages, ISO 639-3 (`eng`, `ukr`), as Common Crawl detected them; null: any."""
    limit: PositiveInt = 1000
    """Captures at most, the first ones in the order of the index."""
    pages_per_warc: PositiveInt = 1000
    """Captures in one WARC file, the unit of parallel work."""


class CommonCrawlSource(StageConfig):
    """Files of a published crawl, their beginnings, or the captures that its index knows for a URL."""

    kind: Literal["commoncrawl"] = "commoncrawl"
    name: str = "commoncrawl"
    """Name of the source, in tables and in every document; also a folder name."""
    weight: PositiveFloat | None = None
    """Share of this source in the tokens that training sees, relative to the other sources' weights (docs/mix.md). Null
    for all of them: the share that its pages make."""
    license: str = "each page's own; commoncrawl.org/terms-of-use"
    """Licence of the content; travels with every document."""
    crawl: str = "latest"
    """`CC-MAIN-2024-22` or another crawl that index.commoncrawl.org lists, or `latest`: the newest one when planned."""
    files: Literal["warc", "wet"] = "warc"
    """`warc`: pages as they were sent. `wet`: Common Crawl's own plain text of them, far smaller, menus included."""
    sample_files: PositiveInt | None = 4
    """So many of the crawl's files, chosen by `seed`; a larger sample contains the smaller one. null: all of them, tens
    of terabytes."""
    seed: int = 0
    """Chooses other files."""
    first_mb: PositiveFloat | None = None
    """Of each file only so many megabytes (10⁶ bytes) from its beginning, up to the last whole record; null: all."""
    cdx: CdxQuery | None = None
    """Fetch single captures that the index names, in place of files."""
    base_url: str = "https://data.commoncrawl.org"
    """Where the crawl lies: a mirror, or `s3://commoncrawl` (`pip install 'gristmill[s3]'`, and AWS credentials)."""
    index_url: str = "https://index.commoncrawl.org"
    """Where the list of crawls and the index are."""
    connections: PositiveInt = 4
    """Requests at the same time; no part of the key."""
    tries: PositiveInt = 12
    """Failed attempts in a row until a request is given up; no part of the key."""

    # identity() puts here what it resolved, so that the build uses exactly what the key was computed from
    _resolved: Any = PrivateAttr(default=None)

    def identity(self) -> dict[str, Any]:
        """The crawl's id and the digest of its list of paths, or of the index's answer, in place of the addresses.

        Asks the network each time. Raises SourceUnavailable without it, ValueError for a crawl that is not there.
        """
        from gristmill.crawl.commoncrawl import resolve

        self._resolved = resolve(self)
        what = self.cdx.model_dump(mode="json") if self.cdx else None
        facts = {"cdx": what} if what else {"sample_files": self.sample_files, "seed": self.seed}
        return {
            "kind": self.kind,
            "name": self.name,
            "license": self.license,
            "files": self.files,
            "first_mb": self.first_mb,
            **facts,
            **self._resolved.identity(),
        }

    def resolved(self) -> Any:
        """The `Resolved` that the last identity() was computed from; asked for now when there was none."""
        if self._resolved is None:
            self.identity()
        return self._resolved

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.crawl != "latest" and not CRAWL_ID.fullmatch(self.crawl):
            raise ValueError(
                f"crawl={self.crawl!r} of source {self.name!r} is no crawl id; expected `latest` or one such as "
                "CC-MAIN-2024-22 (index.commoncrawl.org lists them)"
            )
        if self.cdx:
            surplus = sorted({"sample_files", "first_mb", "seed"} & self.model_fields_set)
            if surplus:
                raise ValueError(
                    f"source {self.name!r}: {', '.join(surplus)} chooses files, cdx chooses single pages; remove one"
                )
            if self.files != "warc":
                raise ValueError(f"source {self.name!r}: the index knows where captures lie in `warc` files only")
            if not self.index_url.startswith(("http://", "https://")):
                raise ValueError(f"source {self.name!r}: index_url={self.index_url!r} must be http:// or https://")
        return self
