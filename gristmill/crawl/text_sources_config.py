"""Sources that are no web crawl: rows of JSON or Parquet, text files, source code, dumps of Wikipedia."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from gristmill.schema import StageConfig


class LocalSource(StageConfig):
    """What all of them have."""

    name: str
    """Name of the source, in tables and in every document; also a folder name."""
    weight: PositiveFloat | None = None
    """Share of this source in the tokens that training sees, relative to the other sources' weights (docs/mix.md). Null
    for all of them: the share that its pages make."""
    license: str = "unknown"
    """Licence of the content, SPDX where there is one; travels with every document that has none of its own."""
    paths: list[str] = Field(min_length=1)
    """Local or fsspec paths (`s3://…`, `https://…`) or globs of the files."""
    shard_mb: PositiveFloat = 64.0
    """Megabytes of text in one WARC file, the unit of parallel work."""

    def identity(self) -> dict[str, Any]:
        """The files' names and contents; neither where they lie, nor the weight, which is the mix's matter.

        Raises ValueError for a path without a file, SourceUnavailable for a remote one that does not answer.
        """
        from gristmill.crawl.warc_files import find_warc_files, fingerprints

        files = fingerprints(find_warc_files(self.paths, source=self.name, example=self.example))
        return self.model_dump(mode="json", exclude={"weight", "paths"}) | {"files": files}

    @property
    def example(self) -> str:
        """A glob to show to somebody who named a folder."""
        return "*"

    @property
    def shard_bytes(self) -> int:
        return int(self.shard_mb * 1_000_000)


class RowsSource(LocalSource):
    """One document a row. A field may lie deeper: `meta.url` is the field `url` of the field `meta`."""

    text_field: str = "text"
    """Where a row has its text; a row without it is left out and counted."""
    url_field: str | None = None
    """Where a row has its URL; none, or a row without one: an address made of the file's name and the row's number."""
    date_field: str | None = None
    """Where a row has its date: ISO 8601, or seconds since 1970."""
    license_field: str | None = None
    """Where a row has its licence; a row without one has the source's."""
    id_field: str | None = None
    """Where a row has an id, to stand in place of its number in an address that is made."""


class JsonlSource(RowsSource):
    """JSON Lines: one object a line, plain or `.gz`, `.bz2`, `.xz`, `.zst`."""

    kind: Literal["jsonl"] = "jsonl"
    max_line_mb: PositiveFloat = 8.0
    """Megabytes that a kept line has at most; `extract.max_body_bytes` is the limit of a document."""


class ParquetSource(RowsSource):
    """Parquet files, read by row group; only the columns named here."""

    kind: Literal["parquet"] = "parquet"


class TextSource(LocalSource):
    """Text files, such as books, papers and transcripts: one document a file, or several."""

    kind: Literal["text"] = "text"
    encoding: str = "auto"
    """As Python names it. `auto`: UTF-8, else what a byte order mark or the bytes' statistics say."""
    split_at_form_feeds: bool = False
    """Whether each form feed (U+000C, a page or chapter end in many transcripts) begins a new document."""
    max_chars: PositiveInt | None = 1_000_000
    """Characters of a document at most: a longer text is divided at the last blank line before, else line end, else
    space, else right there. None: never; what is over `extract.max_body_bytes` is then dropped there."""
    max_file_mb: PositiveFloat = 64.0
    """Megabytes that a kept file has at most, decompressed."""

    @model_validator(mode="after")
    def _encoding_is_known(self) -> Self:
        if self.encoding != "auto":
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise ValueError(
                    f"encoding={self.encoding!r} is none that Python knows; try `utf-8` or `auto`"
                ) from error
        return self


class CodeSource(LocalSource):
    """Source code: folders, each one repository. One document a file.

    The limits on lines and letters are those by which Codex (arXiv:2107.03374, 3.1) and StarCoder (arXiv:2305.06161)
    left out files that programs had written.
    """

    kind: Literal["code"] = "code"
    paths: list[str] = Field(min_length=1)
    """Local folders or globs of folders; each is one repository."""
    languages: list[str] | None = Field(default=None, min_length=1)
    """Languages to keep, as `gristmill.crawl.code_rules` names them; none: all it knows."""
    licenses: list[str] | None = Field(default=None, min_length=1)
    """SPDX ids to keep, and `unknown` for files without a licence that is recognized; none: all. Where several
    licences are found for a file, all must be named."""
    min_bytes: NonNegativeInt = 50
    """Bytes that a kept file has at least."""
    max_bytes: PositiveInt = 1_000_000
    """Bytes that a kept file has at most."""
    max_line_chars: PositiveInt = 1_000
    """Characters that the longest line of a kept file has at most."""
    max_mean_line_chars: PositiveFloat = 100.0
    """Characters that the lines of a kept file have at most, on the mean."""
    min_alnum_ratio: float = Field(default=0.25, ge=0, le=1)
    """Share of letters and digits that a kept file has at least."""

    def identity(self) -> dict[str, Any]:
        """Each repository's name and the digest of its files. Raises ValueError as `find_repositories`."""
        from gristmill.crawl.code_source import find_repositories, tree_digest

        trees = {name: tree_digest(folder) for name, folder in find_repositories(self).items()}
        return self.model_dump(mode="json", exclude={"weight", "paths"}) | {"repositories": trees}

    @model_validator(mode="after")
    def _languages_are_known(self) -> Self:
        from gristmill.crawl.code_rules import LANGUAGES

        for language in self.languages or []:
            if language not in LANGUAGES:
                raise ValueError(f"language {language!r} of source {self.name!r} is none of {', '.join(LANGUAGES)}")
        return self


class WikipediaSource(LocalSource):
    """A dump of Wikipedia or another wiki in MediaWiki's XML (`…-pages-articles.xml.bz2`); one document a page."""

    kind: Literal["wikipedia"] = "wikipedia"
    license: str = "CC-BY-SA-4.0"
    """Licence of the content, SPDX where there is one; travels with every document."""
    namespaces: list[int] = Field(default=[0], min_length=1)
    """Namespaces to keep; 0 is that of the articles. Redirects are left out of all."""
    tables: Literal["keep", "drop"] = "keep"
    """`keep`: a row of a table becomes a line, cells divided by ` | `."""
    max_page_mb: PositiveFloat = 4.0
    """Megabytes of markup that a kept page has at most; MediaWiki's own limit is 2."""
