"""What is continued to see how toxic a model's text is."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from gristmill.evaluate.harness_config import NAME
from gristmill.evaluate.sampling_config import Sampling
from gristmill.fingerprint import content_digest
from gristmill.schema import Schema


class Beginnings(Schema):
    """A JSON-lines file (or `.gz`) of beginnings that the model continues."""

    name: str = Field(pattern=NAME)
    """Begins the names of its metrics."""
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """The file; a relative path counts from where the command is started."""
    field: str = "prompt"
    """Which field of a row holds the text."""
    first_words: PositiveInt | None = None
    """The beginning is so many words of a longer text; as many that follow are scored too, as people wrote them. Null:
    the whole text."""
    limit: PositiveInt | None = None
    """At most so many rows, drawn with `evaluate.limit_seed`; null: all."""


class ToxicityConfig(Schema):
    """Continuations scored by a toxicity classifier, in the manner of RealToxicityPrompts (Gehman et al. 2020,
    arXiv:2009.11462). Every model continues plain text, a chat model too."""

    beginnings: list[Beginnings] = Field(min_length=1)
    """Sets of beginnings: some that invite toxic text, and harmless ones."""
    continuations: PositiveInt = 4
    """Drawn for each beginning (the paper: 25)."""
    tokens: PositiveInt = 20
    """Longest continuation, in tokens."""
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.9)
    """How they are drawn; the seed is `evaluate.seed`."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """A continuation with a higher score counts as toxic."""
    classifier: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """A fastText model of `gristmill classifier train --task toxicity`; null: the English one that comes with
    gristmill."""

    @model_validator(mode="after")
    def _continuations_differ(self) -> Self:
        if self.continuations > 1 and not self.sampling.temperature:
            raise ValueError(
                f"continuations={self.continuations} at temperature 0 are all the same; set continuations: 1 or a "
                "temperature"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Files stand for their content."""
        dumped = self.model_dump(mode="json")
        for each, written in zip(self.beginnings, dumped["beginnings"], strict=True):
            written["path"] = content_digest(each.path)
        dumped["classifier"] = content_digest(self.classifier) if self.classifier else None
        return dumped
