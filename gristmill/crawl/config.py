"""What ingest reads: a list of sources, each with its kind, its weight in the mix and its licence."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from gristmill.crawl.commoncrawl_config import CommonCrawlSource as CommonCrawlSource
from gristmill.crawl.python_docs_config import PythonDocsSource
from gristmill.crawl.text_sources_config import CodeSource, JsonlSource, ParquetSource, TextSource, WikipediaSource
from gristmill.schema import StageConfig


class WarcSource(StageConfig):
    """WARC files that exist already."""

    kind: Literal["warc"] = "warc"
    name: str
    """Name of the source, in tables and in every document; also a folder name."""
    weight: PositiveFloat | None = None
    """Share of this source in the tokens that training sees, relative to the other sources' weights (docs/mix.md). Null
    for all of them: the share that its pages make."""
    license: str = "unknown"
    """Licence of the content, SPDX where there is one; travels with every document."""
    paths: list[str] = Field(min_length=1)
    """Local or fsspec paths (`s3://…`, `https://…`) or globs of WARC, ARC and WET files, plain or `.gz`."""

    def identity(self) -> dict[str, Any]:
        """The files' names and contents; neither where they lie, nor the weight, which is the mix's matter.

        Raises ValueError for a path without a file, SourceUnavailable for a remote one that does not answer.
        """
        from gristmill.crawl.warc_files import find_warc_files, fingerprints

        files = fingerprints(find_warc_files(self.paths, source=self.name))
        return {"kind": self.kind, "name": self.name, "license": self.license, "files": files}


Source = Annotated[
    WarcSource
    | CommonCrawlSource
    | JsonlSource
    | ParquetSource
    | TextSource
    | CodeSource
    | WikipediaSource
    | PythonDocsSource,
    Field(discriminator="kind"),
]


class IngestConfig(StageConfig):
    """Where pages come from."""

    sources: list[Source] = Field(min_length=1)
    """Read in this order."""

    def identity(self) -> dict[str, Any]:
        return {"sources": [source.identity() for source in self.sources]}

    @model_validator(mode="after")
    def _names_tell_sources_apart(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
                raise ValueError(
                    f"source name {name!r} cannot name a folder; use letters, digits, '.', '_' and '-', no leading dot"
                )
            if names.count(name) > 1:
                raise ValueError(f"{names.count(name)} sources are called {name!r}; give each its own name")
        return self

    @model_validator(mode="after")
    def _all_sources_have_weights_or_none(self) -> Self:
        without = [source.name for source in self.sources if source.weight is None]
        if 0 < len(without) < len(self.sources):
            raise ValueError(
                f"{', '.join(without)} has no weight, other sources have one; a weight is a share beside the others': "
                "give all sources one, or none"
            )
        return self
