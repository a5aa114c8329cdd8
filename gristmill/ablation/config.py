"""Which data recipes are compared, and on which texts."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from gristmill.errors import NotHere
from gristmill.fingerprint import file_sha256
from gristmill.program import Run
from gristmill.schema import Schema, StageConfig

_NAME = r"^[a-z][a-z0-9_]*$"
RECIPE_SECTIONS = (
    "ingest",
    "extract",
    "signals",
    "filter",
    "signatures",
    "dedup",
    "decontaminate",
    "mix",
    "leave_out",
)
HELD_OUT = "held_out"


class AblationConfig(StageConfig):
    """Two or more data recipes, trained alike with several seeds and compared on the same texts."""

    recipes: dict[Annotated[str, Field(pattern=_NAME)], dict[str, Any]] = {
        "raw": {"leave_out": ["filter", "dedup"]},
        "clean": {},
    }
    """Name → what differs from the configuration around it, by section, such as `{filter: {min_words: 20}}`. Sections
    of the data stages alone; model, training and tokenizer are the same for all."""
    baseline: str = "raw"
    """The recipe that the others are compared with."""
    reference: str = "clean"
    """The recipe whose training text makes the tokenizer of all, and whose validation pages are one of the sets."""
    seeds: list[NonNegativeInt] = Field(default=[0, 1, 2], min_length=2)
    """Trainings of each recipe: `pretrain.seed`, which decides new weights and the order of rows."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Chance that the intervals of all comparisons together hold what they measure (Bonferroni)."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = ", ".join(self.recipes)
        if len(self.recipes) < 2:
            raise ValueError(f"ablation.recipes names {known or 'nothing'}; a comparison needs at least 2")
        for field in ("baseline", "reference"):
            if getattr(self, field) not in self.recipes:
                raise ValueError(f"ablation.{field}={getattr(self, field)} is none of the recipes; there are {known}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"ablation.seeds={self.seeds}: the same seed twice is the same training; name each once")
        for name, changes in self.recipes.items():
            if wrong := sorted(changes.keys() - set(RECIPE_SECTIONS)):
                sections = ", ".join(RECIPE_SECTIONS)
                raise ValueError(f"ablation.recipes.{name}.{wrong[0]} is no section of the data; there are {sections}")
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the table; the recipes and seeds decide the models, which are inputs."""
        return self.model_dump(mode="json", include={"baseline", "confidence"})


class TextSet(Schema):
    """Texts of one kind that no recipe trains on."""

    name: Annotated[str, Field(pattern=_NAME)]
    """In tables and names of metrics."""
    path: Annotated[Path, AfterValidator(Path.absolute)]
    """`.jsonl` or `.jsonl.gz`: a document a row. `.txt` or `.txt.gz`: one document, or several, see `split_at`."""
    text_field: str = "text"
    """Where a row has its text."""
    split_at: str | None = None
    """Regular expression, with ^ and $ at line ends: a document of a text file begins wherever it matches."""
    max_documents: PositiveInt | None = None
    """The first so many documents; null: all. Documents of less than `min_chars` do not count."""
    min_chars: PositiveInt = 200
    """Shorter documents are left out."""

    @field_validator("path")
    @classmethod
    def _format_is_known(cls, path: Path) -> Path:
        if not path.name.removesuffix(".gz").endswith((".jsonl", ".txt")):
            raise ValueError(f"{path.name}: expected a name that ends in .jsonl, .jsonl.gz, .txt or .txt.gz")
        return path

    @field_validator("split_at")
    @classmethod
    def _is_an_expression(cls, split_at: str | None) -> str | None:
        try:
            re.compile(split_at or "")
        except re.error as error:
            raise ValueError(f"{split_at!r} is no regular expression ({error})") from error
        return split_at

    def identity(self) -> dict[str, Any]:
        """The file stands for its content."""
        try:
            content = file_sha256(self.path)
        except OSError as error:
            raise NotHere(f"cannot read {self.path} ({error.strerror}); correct text_bits.sets") from error
        return self.model_dump(mode="json", exclude={"path"}) | {"sha256": content}


class TextBitsConfig(StageConfig):
    """Bits of every document of several sets under one model."""

    sets: list[TextSet] = []
    """Clean texts from elsewhere; the validation pages of `ablation.reference` are always the set `held_out`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [HELD_OUT, *(each.name for each in self.sets)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sets of text_bits are named {twice[0]!r}; rename one")
        return self

    def identity(self) -> dict[str, Any]:
        """Files stand for their content."""
        return self.model_dump(mode="json", exclude={"sets"}) | {"sets": [each.identity() for each in self.sets]}


class TextBitsRun(Run):
    """`run.yaml` of `python -m gristmill.ablation.text_bits`."""

    model: Path
    """Folder of the model."""
    splits: Path
    """Folder of the splits whose validation pages are the set `held_out`."""
    config: TextBitsConfig = TextBitsConfig()
    """What is measured."""
