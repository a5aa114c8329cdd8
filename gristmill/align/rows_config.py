"""Where rows for fine-tuning and alignment come from."""

from abc import abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, model_validator

from gristmill.errors import NotHere, SourceUnavailable
from gristmill.fingerprint import content_digest, read_sha256
from gristmill.schema import Schema


class ExampleRows(Schema):
    """The rows that the stage `examples` made (or `preferences`), with their own held-out rows."""

    kind: Literal["examples"] = "examples"


class ArtifactRows(Schema):
    """The rows of an examples artifact that an earlier run made, with their own held-out rows."""

    kind: Literal["artifact"] = "artifact"
    artifact: Annotated[str, Field(pattern=r"^examples/[\w-]+$")]
    """Its address, such as `examples/preferences-60d09ddec826`."""


class OwnRows(Schema):
    """Rows of any format that docs/alignment.md lists; which one it is, each row shows."""

    license: str = "unknown"
    """Licence of the rows, SPDX where there is one; it stays with every model that is made with them."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of rows that never train and measure the result. The messages up to the user's first decide, so all answers
    to a prompt and all continuations of a conversation stay together."""

    @abstractmethod
    def content(self) -> Any:
        """What stands for the rows in a key. Raises SourceUnavailable when they cannot be looked at."""


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


class FileRows(OwnRows):
    """Files: `.jsonl`, `.json` (a list of objects), either with `.gz`, or `.parquet`."""

    kind: Literal["files"] = "files"
    paths: Annotated[list[Annotated[str, AfterValidator(_absolute)]], Field(min_length=1)]
    """Local or fsspec paths (`s3://…`, `https://…`) or globs; relative ones count from where the command is started. A
    remote file whose server states no version (an ETag or a checksum) is read whole by every `plan`."""

    def content(self) -> list[str]:
        """Each file's digest; of a remote one what its server says of its version, where it does."""
        return [_digest(location) for location in located(self.paths)]


class HubRows(OwnRows):
    """Files of a data set on the Hugging Face hub, from the hub's local cache or downloaded."""

    kind: Literal["hub"] = "hub"
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """Its id, such as `tatsu-lab/alpaca`."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Its commit, 40 hexadecimal digits; a name such as `main` would mean other rows some day."""
    files: Annotated[list[str], Field(min_length=1)] = [
        "*train*.parquet",
        "*train*.jsonl",
        "*train*.jsonl.gz",
    ]
    """Which of its files: names or globs, folders included (`data/train-*.parquet`); not those of a test split."""
    license: str = "card"
    """Licence of the rows; `card`: what its card states."""

    def content(self) -> dict[str, Any]:
        return {"hub": self.hub, "revision": self.revision, "files": self.files}


Rows = Annotated[ExampleRows | ArtifactRows | FileRows | HubRows, Field(discriminator="kind")]


class TaskRows(Schema):
    """One task of a mix."""

    rows: Annotated[FileRows | HubRows, Field(discriminator="kind")]
    """Where its rows come from."""
    weight: NonNegativeFloat = 1.0
    """Times that a row is seen in a pass; .5: half of the rows are. 0: the task trains nothing, and all its rows
    measure what carries over to it from the others."""


class MixedRows(Schema):
    """Several tasks, each with a weight and measured apart."""

    kind: Literal["mix"] = "mix"
    tasks: Annotated[dict[str, TaskRows], Field(min_length=1)]
    """The tasks by name. Their order counts: rows follow it, and of copies the first is kept."""

    def content(self) -> list[list[Any]]:
        """Name, weight, rows, licence and share held out of each; a list, since their order decides too."""
        return [
            [name, task.weight, task.rows.content(), task.rows.license, task.rows.held_out]
            for name, task in self.tasks.items()
        ]

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if not any(task.weight for task in self.tasks.values()):
            raise ValueError("every task of the mix has weight 0, so there is nothing to learn from; give one a weight")
        return self


def located(paths: list[str]) -> list[str]:
    """The files that paths and globs name, in order of the paths, those of a glob sorted.

    Raises SourceUnavailable where there is none, or a server does not answer.
    """
    from gristmill.guarded_http import filesystem_of

    found: list[str] = []
    for path in paths:
        try:
            filesystem, bare = filesystem_of(path)
            matches = sorted(filesystem.glob(bare)) if "*" in bare else [bare] if filesystem.exists(bare) else []
        except Exception as error:  # each file system has exceptions of its own
            raise SourceUnavailable(f"data.paths: cannot look at {path} ({type(error).__name__}: {error})") from error
        if not matches:
            raise NotHere(f"data.paths: there is no file {path}; correct the path in the configuration")
        found += [filesystem.unstrip_protocol(match) if "://" in path else match for match in matches]
    return found


_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "blob_id")
"""Where the facts of a remote file state its version: S3 and HTTP, GCS, Azure, the Hugging Face hub."""


def _digest(location: str) -> str:
    if "://" not in location:
        return content_digest(Path(location))
    from fsspec.implementations.local import LocalFileSystem

    from gristmill.guarded_http import filesystem_of

    filesystem, bare = filesystem_of(location)
    if isinstance(filesystem, LocalFileSystem):
        return content_digest(Path(bare))
    try:
        facts = filesystem.info(bare)
        stated = next((facts[key] for key in _VERSIONS if facts.get(key)), None)
        if stated:
            return str(stated).strip('"')
        with TemporaryDirectory() as folder:  # fetched whole: not every server sends a range of bytes
            filesystem.get_file(bare, f"{folder}/file")
            return read_sha256(Path(folder, "file"))
    except Exception as error:  # each file system has exceptions of its own
        raise SourceUnavailable(f"data.paths: cannot read {location} ({type(error).__name__}: {error})") from error
