"""Texts that bits per byte are measured on, beside the validation split."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from gristmill.evaluate.harness_config import NAME
from gristmill.fingerprint import content_digest
from gristmill.schema import Schema


class NamedText(Schema):
    """A JSON-lines file (or `.gz`) of documents.

    Decontamination looks for them only where `decontaminate.benchmarks` names the file too.
    """

    name: str = Field(pattern=NAME)
    """Begins the names of its metrics."""
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""
    field: str = "text"
    """Which field of a row holds the text."""
    group_by: str | None = None
    """Field of a row, such as `source` or `language`: bits per byte for each of its values too. Of a URL its host
    counts."""
    limit: PositiveInt | None = None
    """At most so many documents, drawn with `evaluate.limit_seed`; null: all."""
    context: PositiveInt | None = None
    """Tokens that the model sees at once; a longer document is cut into pieces. Null: the model's own context."""

    def identity(self) -> dict[str, Any]:
        """The file stands for its content."""
        return self.model_dump(mode="json") | {"path": content_digest(self.path)}
